"""From ``"package.module:attribute"`` to the thing itself, as late as possible and with the missing package named."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from zoo_registry.errors import MissingDependency, PluginError

DISTRIBUTION = "zookit"


def installed(import_name: str) -> bool:
    """True where the top-level package of ``import_name`` can be imported; nothing is imported to find out."""
    try:
        return importlib.util.find_spec(import_name.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def load_builder(ref: str, requires: Sequence[str] = (), extra: str = "") -> Any:
    """Import what ``ref`` names.

    Args:
        ref: ``"package.module:attribute"``; the attribute may be dotted.
        requires: import names that must be installed first.
        extra: the extra of zookit, or the pip package, that installs them.

    Raises:
        MissingDependency: a package is not installed; the remedy is the pip command.
        PluginError: the reference is malformed, its module breaks on import, or it lacks the attribute.
    """
    module_name, _, attribute = ref.partition(":")
    if not module_name or not attribute:
        raise PluginError(f"'{ref}' is no reference to code.", "Write it as package.module:attribute.")
    missing = [name for name in requires if not installed(name)]
    if missing:
        raise MissingDependency(_not_installed(ref, missing), install_hint(missing, extra))
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        top = (error.name or "").partition(".")[0]
        if top and top != module_name.partition(".")[0] and not installed(top):
            raise MissingDependency(_not_installed(ref, [top]), install_hint([top], extra)) from error
        raise _broken(ref, error) from error
    except Exception as error:
        raise _broken(ref, error) from error
    return found


def _broken(ref: str, error: Exception) -> PluginError:
    problem = f"{ref} cannot be imported: {type(error).__name__}: {error}."
    return PluginError(problem, "Reinstall or update the package it belongs to, or tell its author.")


def install_hint(missing: Sequence[str], extra: str) -> str:
    """The pip command that installs ``missing``."""
    if not extra:
        return f"Install it: pip install {' '.join(missing)}"
    target = f'"{DISTRIBUTION}[{extra}]"' if extra in _extras() else extra
    return f"Install it: pip install {target}"


def _not_installed(ref: str, missing: Sequence[str]) -> str:
    noun = "package" if len(missing) == 1 else "packages"
    verb = "is" if len(missing) == 1 else "are"
    return f"{ref} needs the Python {noun} {', '.join(missing)}, which {verb} not installed."


def _extras() -> set[str]:
    from importlib import metadata

    try:
        return set(metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ())
    except metadata.PackageNotFoundError:
        return set()
