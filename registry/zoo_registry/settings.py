"""What the user's configuration file says about plugins and names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo_registry.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settings:
    """Lists and aliases, from the environment and the configuration file.

    Attributes:
        allow: plugins (by namespace or distribution) that may load; empty: all. Built-in ones need no leave.
        deny: plugins that may not load, built-in or not; stronger than ``allow``.
        aliases: bare name -> what the user means by it.
        strict: raise at the first plugin that fails.
    """

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False


def config_path() -> Path:
    """``$ZOO_CONFIG``, else ``~/.config/zoo/config.toml``. Need not exist."""
    named = os.environ.get("ZOO_CONFIG")
    return Path(named) if named else Path.home() / ".config" / "zoo" / "config.toml"


def load_settings() -> Settings:
    """Tables ``[plugins]`` (``allow``, ``deny``: lists of names) and ``[aliases]`` of the configuration file, joined
    with ``$ZOO_PLUGINS_ALLOW`` and ``$ZOO_PLUGINS_DENY`` (comma separated; the first replaces the file's list, the
    second adds to it) and ``$ZOO_STRICT_PLUGINS``.

    Raises:
        UsageError: the file is unreadable, no TOML, or holds something else under these tables.
    """
    tables = _read(config_path())
    plugins = tables.get("plugins", {})
    if unknown := set(plugins) - {"allow", "deny"}:
        raise _bad(f"[plugins] has no key '{sorted(unknown)[0]}'", "Its keys are allow and deny")
    for key, value in plugins.items():
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _bad(f"[plugins] {key} is no list of names", f'Write it as {key} = ["name"]')
    aliases = tables.get("aliases", {})
    if not all(isinstance(target, str) for target in aliases.values()):
        raise _bad("[aliases] holds something else than names", 'Write it as name = "namespace/model@weights"')
    allow = _names(os.environ.get("ZOO_PLUGINS_ALLOW", "")) or frozenset(plugins.get("allow", ()))
    deny = _names(os.environ.get("ZOO_PLUGINS_DENY", "")) | frozenset(plugins.get("deny", ()))
    strict = os.environ.get("ZOO_STRICT_PLUGINS", "0").lower() in {"1", "true", "yes", "on"}
    return Settings(allow, deny, aliases, strict)


def _names(text: str) -> frozenset[str]:
    return frozenset(filter(None, (part.strip() for part in text.split(","))))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(f"it cannot be read ({error})", "Repair or move it") from error
    # Only users with a configuration file pay for the parser.
    import tomllib

    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad(f"it is no TOML ({error})", "Repair it") from error
    for name in ("plugins", "aliases"):
        if not isinstance(tables.get(name, {}), dict):
            raise _bad(f"'{name}' is no table", f"Write it as [{name}]")
    return tables


def _bad(problem: str, remedy: str) -> UsageError:
    return UsageError(f"The configuration file {config_path()} is wrong: {problem}.", f"{remedy}.")
