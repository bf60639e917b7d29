#!/bin/sh
# Puts Debian's CPU build of PyTorch into FOLDER, with an environment for Debian's own python3; installs nothing into the
# system. A wheel from PyPI needs CUDA libraries of several GB to be imported at all.
#
# usage: gettorch.sh FOLDER
set -eu

folder=$1
python=/usr/bin/python3

fail() {
  echo "gettorch: $1" >&2
  exit 1
}

for tool in apt-get dpkg-deb "$python"; do
  command -v "$tool" >/dev/null 2>&1 || fail "no $tool: the CPU build is fetched on Debian and its like only"
done
mkdir -p "$folder/packages" "$folder/root"
cd "$folder/packages"
# The names of what an installation would add, without installing it.
apt-get install --simulate --no-install-recommends python3-torch 2>/dev/null | awk '/^Inst/ { print $2 }' >names
[ -s names ] || "$python" -c 'import torch' 2>/dev/null || fail "apt knows no python3-torch: run apt-get update"
if [ -s names ]; then
  xargs apt-get download <names >log 2>&1 || fail "$(tail -n 1 log)"
  for package in *.deb; do
    dpkg-deb -x "$package" ../root
  done
fi
cd ..
rm -rf packages
"$python" -m venv --without-pip .
place=$(bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$(pwd)/root/usr/lib/python3/dist-packages" /usr/lib/python3/dist-packages >"$place/debian.pth"
path=$(find "$(pwd)/root" -name '*.so*' -not -path '*/python3*' -exec dirname {} + | sort -u | tr '\n' ':')
LD_LIBRARY_PATH=$path bin/python -c 'import torch' || fail "torch is there and can't be imported"
printf '%s\n' "$path" >library-path
