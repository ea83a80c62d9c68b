#!/usr/bin/env bash
# The one test command: style, types, then the test suite. Arguments go to pytest: tools/test.sh tests/engine -k resume
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/venv.sh
ensure_venv starter,dev
if [ $# -gt 0 ]; then
    exec .venv/bin/python -m pytest "$@"
fi
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# Whole files to each worker, so that what their fixtures make is made once; one thread each, or they wait for each other.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec .venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
