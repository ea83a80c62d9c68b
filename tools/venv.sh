# Sourced by demo.sh and test.sh: makes .venv where it is missing and installs the project into it, once.
# Installs again only when pyproject.toml, the constraints or the wanted extras changed.

ensure_venv() {  # ensure_venv EXTRAS
    local extras="$1" python="${PYTHON:-python3}" stamp want
    if [ ! -x .venv/bin/python ]; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            echo "zoo needs Python 3.11 or newer, and $python is $("$python" --version 2>&1). Set PYTHON=/path/to/python3.11." >&2
            return 1
        }
        echo "making .venv" >&2
        "$python" -m venv .venv
    fi
    stamp=".venv/.installed-${extras//,/-}"
    want="$(cat pyproject.toml tools/constraints.txt | cksum) $PWD"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
        echo "installing zookit[$extras] into .venv (the first time takes a few minutes)" >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --constraint tools/constraints.txt --editable ".[$extras]"
        echo "$want" > "$stamp"
    fi
}
