#!/bin/sh
# Checks what a build needs, before anything is started; one line with the remedy for each thing that is missing.
#
# usage: check-tools.sh PYTHON given|default VENV [rustfmt] [clippy]
#   "given": the user chose PYTHON, so an existing VENV has to hold that version.
set -u

python=$1 chosen=$2 venv=$3
shift 3
failed=0

miss() {
  echo "firehot: $1" >&2
  failed=1
}

# at_least 1.95.0 1.88: is the first version the second or later? Compares major and minor.
at_least() {
  have_major=${1%%.*} have_rest=${1#*.}
  want_major=${2%%.*} want_rest=${2#*.}
  have_minor=${have_rest%%.*} want_minor=${want_rest%%.*}
  [ "$have_major" -gt "$want_major" ] ||
    { [ "$have_major" -eq "$want_major" ] && [ "$have_minor" -ge "$want_minor" ]; }
}

version_of() {
  "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
}

check_python() {
  if ! command -v "$python" >/dev/null 2>&1; then
    miss "no $python on PATH: install Python 3.10 or later, or name one with make PYTHON=/path/to/python3"
    return
  fi
  version=$(version_of "$python") || version=
  if [ -z "$version" ]; then
    miss "$python does not run: name an interpreter that does with make PYTHON=/path/to/python3"
  elif ! at_least "$version" 3.10; then
    miss "$python is Python $version: install 3.10 or later, or name one with make PYTHON=/path/to/python3"
  elif ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    miss "$python has no venv module (with ensurepip): install it (Debian, Ubuntu: apt install python${version%.*}-venv)"
  fi
}

# The environment remembers its interpreter and the folder that it was made in.
check_venv() {
  inside=$(version_of "$venv/bin/python") || inside=
  if [ -z "$inside" ]; then
    miss "the interpreter that $venv was made with is gone: run make clean-venv, then this again"
  elif [ ! -f "$venv/.stamps/venv" ]; then
    # Made by hand, or its making was interrupted; `python -m venv` completes it in place.
    check_python
    [ -z "${version:-}" ] || [ "${version%.*}" = "${inside%.*}" ] ||
      miss "$venv holds Python $inside, $python is $version: run make clean-venv, then this again"
  elif [ "$(cat "$venv/.stamps/venv")" != "$(pwd)" ]; then
    miss "$venv was made for $(cat "$venv/.stamps/venv"): run make clean-venv, then this again"
  elif [ "$chosen" = given ]; then
    check_python
    [ -z "${version:-}" ] || [ "$version" = "$inside" ] ||
      miss "$venv holds Python $inside, PYTHON=$python is $version: run make clean-venv, then this again"
  fi
}

check_rust() {
  wanted=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' Cargo.toml)
  if ! command -v cargo >/dev/null 2>&1 || ! command -v rustc >/dev/null 2>&1; then
    miss "no cargo or rustc on PATH: install Rust $wanted or later with rustup, see rust-lang.org/tools/install"
    return
  fi
  rust=$(rustc --version 2>/dev/null | cut -d ' ' -f 2)
  if [ -z "$rust" ] || ! cargo --version >/dev/null 2>&1; then
    miss "cargo or rustc does not run: choose a toolchain with rustup default stable"
  elif ! at_least "$rust" "$wanted"; then
    miss "rustc is $rust: firehot needs $wanted or later, run rustup update stable"
  else
    for component in "$@"; do
      case $component in
        rustfmt) cargo fmt --version >/dev/null 2>&1 || miss "no cargo fmt: run rustup component add rustfmt" ;;
        clippy) cargo clippy --version >/dev/null 2>&1 || miss "no cargo clippy: run rustup component add clippy" ;;
      esac
    done
  fi
}

if [ -e "$venv" ]; then check_venv; else check_python; fi
check_rust "$@"
command -v "${CC:-cc}" >/dev/null 2>&1 ||
  miss "no C compiler (cc), which Rust links with: install one (Debian, Ubuntu: apt install gcc; macOS: xcode-select --install)"
exit $failed
