#!/usr/bin/env bash
# The main job on a fresh machine: finetune, export, predict. Needs nothing but a Python package index.
# Takes real photos where $ZOO_DATA_PATH (or the hub) has cats_dogs, else the built-in drawn sample, and says which.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/venv.sh
ensure_venv starter
zoo=.venv/bin/zoo
out="runs/demo-$(date +%Y%m%d-%H%M%S)"
step() { printf '\n$ zoo %s\n' "$*" >&2; "$zoo" "$@"; }

step finetune resnet50 --data cats_dogs --output "$out"
step evaluate "$out"
step export "$out" -o "$out/export"
step predict "$out/export" "$(.venv/bin/python tools/first_val_image.py "$out" 2>/dev/null)"
printf '\nThe report, with curves and the most confident mistakes: %s/report.html\n' "$out" >&2
