"""Where a verb's data goes: stdout, or a file that appears whole."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.console import say
from zoo_registry.errors import UsageError


def write_output(text: str, path: Path | None) -> None:
    """Print, or write through a temporary file beside ``path``.

    Raises:
        UsageError: the file cannot be written.
    """
    if path is None:
        click.echo(text, nl=False)
        return
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}.", "Choose another -o.") from None
    say(f"wrote {path}")
