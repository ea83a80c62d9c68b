#!/usr/bin/env bash
# The one test command: style, types, then the test suite. Arguments go to pytest: tools/test.sh tests/engine -k resume
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/venv.sh
ensure_venv starter,dev
if [ $# -eq 0 ]; then
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
fi
exec .venv/bin/python -m pytest "$@"
