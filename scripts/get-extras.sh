#!/bin/sh
# Installs what some tests need besides Python packages, from Debian, where this is root and apt-get is there: Chromium,
# which pages are looked at with, and CPython's own tests, for an interpreter that came without them.
#
# usage: get-extras.sh [PYTHON]
#   Ends with 0 in any case and with one line for what is not to be had: the tests that need it then say that they were
#   skipped.
set -u

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp) || exit 0
trap 'rm -f "$log"' EXIT

quietly() {
  # A mirror that does not answer, or another apt at work, must not hold up all that comes after.
  timeout 300 apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Dpkg::Lock::Timeout=60 "$@" >"$log" 2>&1
}

# install PACKAGE WHAT
install() {
  reason=
  if ! command -v apt-get >/dev/null 2>&1; then
    reason="this system has no apt-get"
  elif [ "$(id -u)" -ne 0 ]; then
    reason="run sudo apt-get install $1"
  # The package lists of a fresh container are empty or old.
  elif ! quietly install -y --no-install-recommends "$1" &&
    ! { quietly update && quietly install -y --no-install-recommends "$1"; }; then
    reason="apt-get can't install $1: $(grep '^E:' "$log" | head -n 1 | sed 's/^E: *//')"
  fi
  [ -z "$reason" ] || echo "get-extras: no $2, the tests that need it are skipped: $reason" >&2
}

has_browser() {
  # The names that tests/browser.py looks for.
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v $name >/dev/null 2>&1 && return 0
  done
  return 1
}

has_browser || install chromium browser

version=$("${1:-python3}" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 0
# The places where tests/functional/test_executor_cpython.py looks.
"${1:-python3}" - "$version" 2>/dev/null <<'EOF' || install "libpython$version-testsuite" "tests of CPython's own"
import glob, sys, test
places = [*test.__path__, "/usr/lib/python%s/test" % sys.argv[1]]
sys.exit(not any(glob.glob(place + "/test_concurrent_futures*") for place in places))
EOF
