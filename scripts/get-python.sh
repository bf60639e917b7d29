#!/bin/sh
# Finds a CPython, or fetches it from Debian's packages into a folder, the system untouched. Prints its path.
#
# usage: get-python.sh VERSION FOLDER      for example: get-python.sh 3.15 target/pythons/3.15
#   Looked for on PATH, in pyenv's versions, by uv, in FOLDER (fetched earlier), and at last among the packages of the
#   Debian archive that this machine's apt uses. Each candidate has to run and to import what the tests stand on.
#   Ends with 3, and one line that says why, where there is none to be had; with 2 when it is called wrongly.
set -u

[ $# -eq 2 ] || { echo "usage: get-python.sh VERSION FOLDER" >&2; exit 2; }
version=$1
mkdir -p "$(dirname "$2")" || exit 2
folder=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
fresh=$folder.new

case $version in
  3.[0-9] | 3.[0-9][0-9]) ;;
  *) echo "get-python: $version is no version such as 3.15" >&2; exit 2 ;;
esac

none() {
  echo "get-python: no Python $version: $1" >&2
  exit 3
}

# Prints the path of a candidate that is sound, and not a shim; says nothing of one that is not.
sound() {
  "$1" -I - "$version" 2>/dev/null <<'CHECK'
import ctypes, sqlite3, ssl, sys, sysconfig, venv, zlib

found = "%d.%d" % sys.version_info[:2]
usual = not sysconfig.get_config_var("Py_GIL_DISABLED")  # There is no abi3 for free threading.
if found != sys.argv[1] or sys.implementation.name != "cpython" or not usual:
    sys.exit(1)
print(getattr(sys, "_base_executable", None) or sys.executable)
CHECK
}

found() {
  path=$(sound "$1") && [ -n "$path" ] && { echo "$path"; exit 0; }
}

find_installed() {
  command -v "python$version" >/dev/null 2>&1 && found "python$version"
  for candidate in "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$version".*/bin/"python$version"; do
    [ -x "$candidate" ] && found "$candidate"
  done
  if command -v uv >/dev/null 2>&1; then
    candidate=$(uv python find --no-project --no-python-downloads "$version" 2>/dev/null) && found "$candidate"
  fi
  [ -x "$folder/usr/bin/python$version" ] && found "$folder/usr/bin/python$version"
}

# --- Debian's packages -----------------------------------------------------------------------------------------------

# The suites that hold a version, the best first. Debian released none with 3.10 or 3.12.
suites() {
  case $version in
    3.11) echo bookworm ;;
    3.13) echo trixie ;;
    3.14 | 3.15) echo forky sid ;;
  esac
}

# As apt itself reads its sources: the first repository whose address ends in /debian.
archive() {
  apt-get indextargets --format '$(CREATED_BY) $(REPO_URI)' 2>/dev/null |
    awk '$1 == "Packages" && $2 ~ /\/debian\/?$/ { print $2; exit }'
}

# An apt of its own: no package counts as installed, so that all that the interpreter needs is fetched, its libc too.
set_up_apt() {
  apt=$fresh/.apt
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" && : >"$apt/status" || return 1
  # Where Debian keeps its keys; apt's own trusted ones otherwise.
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  signed=
  [ -r "$keyring" ] && signed="[signed-by=$keyring] "
  echo "deb $signed$1 $2 main" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<CONF
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
CONF
}

# Runs a step with its output in the log, whose first error says what went wrong.
step() {
  APT_CONFIG=$apt/apt.conf "$@" >"$apt/log" 2>&1
}

why() {
  grep '^[EW]:' "$apt/log" | head -n 1 | sed 's/^[EW]: *//'
}

# Makes the interpreter use the libc and libraries that it came with. patchelf is run by its own loader, for the same
# reason. The paths are those that the folder has once it is complete and in place.
relocate() {
  libraries=
  for library in libc.so.6 libexpat.so.1 libstdc++.so.6; do
    file=$(find "$fresh" -name "$library" | head -n 1)
    [ -n "$file" ] || return 1
    place=$(dirname "$file")
    case ":$libraries:" in *":$place:"*) ;; *) libraries=${libraries:+$libraries:}$place ;; esac
  done
  loader=$(find "${libraries%%:*}" -name 'ld-linux*.so.*' | head -n 1)
  [ -n "$loader" ] || return 1
  # Two runs in this order: both changes at once, or the other order, make an interpreter that crashes (patchelf 0.18).
  patch --force-rpath --set-rpath "$(echo "$libraries" | sed "s#$fresh#$folder#g")" &&
    patch --set-interpreter "$folder${loader#"$fresh"}"
}

patch() {
  "$loader" --library-path "$libraries" "$fresh/usr/bin/patchelf" "$@" "$fresh/usr/bin/python$version"
}

# fetch ARCHIVE SUITE: sets `reason` where it fails.
fetch() {
  rm -rf "$fresh"
  set_up_apt "$1" "$2" || { reason="can't write to $fresh"; return 1; }
  # Where one suite is out of reach, so is the next.
  step apt-get -q update || none "the package lists of Debian $2 can't be fetched: $(why)"
  step apt-cache show "python$version-venv" || { reason="Debian $2 has no package python$version-venv"; return 1; }
  step apt-get -q -y --download-only install "python$version-venv" patchelf ||
    { reason="the packages of Debian $2 can't be fetched: $(why)"; return 1; }
  for package in "$apt"/archives/*.deb; do
    step dpkg-deb -x "$package" "$fresh" || { reason="$(basename "$package") can't be unpacked"; return 1; }
  done
  step relocate || { reason="the interpreter of Debian $2 can't be made to use its own libraries"; return 1; }
  rm -rf "$apt" "$folder"
  mv "$fresh" "$folder"
}

find_installed
[ "$(uname -s)" = Linux ] || none "not on PATH, in pyenv or uv; fetching one needs Linux and Debian's apt"
for tool in apt-get apt-cache dpkg-deb; do
  command -v $tool >/dev/null 2>&1 || none "not on PATH, in pyenv or uv; fetching one needs Debian's $tool"
done
debian=$(archive)
[ -n "$debian" ] || none "not on PATH, in pyenv or uv, and no Debian archive is among apt's sources"
[ -n "$(suites)" ] || none "not on PATH, in pyenv or uv, and no release of Debian has it"

trap 'rm -rf "$fresh"' EXIT
trap 'exit 130' HUP INT TERM
reason=
for suite in $(suites); do
  if fetch "$debian" "$suite"; then
    found "$folder/usr/bin/python$version"
    reason="what was fetched from Debian $suite into $folder does not run, or lacks a module"
  fi
done
none "$reason"
