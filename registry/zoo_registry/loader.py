"""Find plugins and load each behind a guard, so that a broken one costs its own records and nothing else.

pluggy's entry-point loader stops at the first import that fails and drops clashing names silently; this one uses only
pluggy's register, call and unregister.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pluggy

from zoo_registry import hooks
from zoo_registry.builders import DISTRIBUTION
from zoo_registry.discovery import entry_points
from zoo_registry.errors import MissingDependency, PluginError
from zoo_registry.settings import Settings
from zoo_registry.specs import Spec
from zoo_registry.validation import NAME, InvalidRecord, check_plugin, check_types

GROUP = "zoo.v1"
# A generator that never ends must fail like any other junk.
MAX_RECORDS = 100_000


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """What became of one plugin.

    Attributes:
        name: its namespace.
        distribution, version: the pip package it came with.
        status: ``"ok"``; ``"declined"``: it says that it cannot serve here (raised MissingDependency); ``"failed"``:
            it broke; ``"blocked"``: by the allow and deny lists; ``"shadowed"``: its namespace belongs to another.
        error: why not ok.
        file: where it was loaded from, or where it broke (``path:line``).
        milliseconds: what importing, registering, calling and checking it took.
    """

    name: str
    distribution: str
    version: str
    status: str
    error: str = ""
    file: str = ""
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin not yet imported: ``load()`` returns the module or object that holds its hook implementations."""

    namespace: str
    distribution: str
    load: Callable[[], object]
    version: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin's record and, where it is ok, its specs."""

    record: PluginRecord
    specs: tuple[Spec, ...] = ()


def discover() -> list[Candidate]:
    """Entry points of the group ``zoo.v1``, unsorted; nothing is imported."""
    return [Candidate(p.name, p.distribution, p.load, p.version) for p in entry_points(GROUP)]


def load_plugins(candidates: Iterable[Candidate], manager: pluggy.PluginManager, settings: Settings) -> list[Loaded]:
    """Load each in the order (distribution, namespace), built-in ones first.

    Raises:
        PluginError: ``settings.strict`` and a plugin failed or claimed a taken namespace.
    """
    owners: dict[str, str] = {}
    results = []
    for candidate in sorted(candidates, key=lambda c: (c.distribution != DISTRIBUTION, c.distribution, c.namespace)):
        blocked = _blocked(candidate, settings)
        if blocked:
            loaded = Loaded(_record(candidate, "blocked", blocked))
        elif candidate.namespace in owners:
            owner = owners[candidate.namespace]
            loaded = Loaded(_record(candidate, "shadowed", f"namespace '{candidate.namespace}' belongs to {owner}"))
        else:
            # A plugin that fails keeps its namespace: what a name means must not hang on whether its owner works.
            owners[candidate.namespace] = candidate.distribution or candidate.namespace
            loaded = _load(candidate, manager)
        results.append(loaded)
        record = loaded.record
        if record.status in ("failed", "shadowed"):
            if settings.strict:
                raise PluginError(describe(record), "Repair or uninstall it, or unset ZOO_STRICT_PLUGINS.")
            print(f"warning: {describe(record)}; left out (see `zoo plugins`)", file=sys.stderr)
    return results


def describe(record: PluginRecord) -> str:
    """One line: which plugin, of which package, what happened."""
    origin = f" of {record.distribution} {record.version}".rstrip() if record.distribution else ""
    where = f" at {record.file}" if record.status == "failed" and record.file else ""
    return f"plugin '{record.name}'{origin} {record.status}: {record.error}{where}"


def _blocked(candidate: Candidate, settings: Settings) -> str:
    names = {candidate.namespace, candidate.distribution}
    if names & settings.deny:
        return "on the deny list"
    if settings.allow and candidate.distribution != DISTRIBUTION and not names & settings.allow:
        return "not on the allow list"
    return ""


def _load(candidate: Candidate, manager: pluggy.PluginManager) -> Loaded:
    start = time.perf_counter()

    def record(status: str, error: str = "", file: str = "") -> PluginRecord:
        return _record(candidate, status, error, file, (time.perf_counter() - start) * 1000)

    plugin: object = None
    try:
        # Whatever a plugin prints while it loads must not mix with the data on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            if not NAME.match(candidate.namespace):
                raise InvalidRecord(f"'{candidate.namespace}' is no name for a namespace")
            plugin = candidate.load()
            manager.register(plugin, name=candidate.namespace)
            specs = _collect(plugin, manager)
            check_plugin(specs)
        return Loaded(record("ok", file=_file_of(plugin)), tuple(specs))
    except MissingDependency as error:
        status, problem, file = "declined", str(error), ""
    # SystemExit too: a module that ends the interpreter on import is as broken as one that raises.
    except (Exception, SystemExit) as error:
        status, problem, file = "failed", _one_line(error), _where(error)
    # By name: the same object may stand registered for another namespace, which keeps it.
    if manager.get_plugin(candidate.namespace) is not None:
        manager.unregister(name=candidate.namespace)
    return Loaded(record(status, problem, file))


def _collect(plugin: object, manager: pluggy.PluginManager) -> list[Spec]:
    """Call the plugin's own hooks, and only its own."""
    callers = manager.get_hookcallers(plugin) or []
    if not callers:
        raise InvalidRecord("it implements no hook (mark functions with zoo_registry.hookimpl)")
    manager.check_pending()
    others = [other for other in manager.get_plugins() if other is not plugin]
    specs: list[Spec] = []
    for caller in callers:
        if any(impl.plugin is plugin and (impl.wrapper or impl.hookwrapper) for impl in caller.get_hookimpls()):
            raise InvalidRecord(f"{caller.name} is a wrapper around other plugins, which is not allowed")
        for result in manager.subset_hook_caller(caller.name, others)():
            specs.extend(_records(caller.name, result))
    return specs


def _records(hook: str, result: Any) -> Sequence[Spec]:
    if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
        raise InvalidRecord(f"{hook} returned {type(result).__name__}, not an iterable of records")
    records = list(itertools.islice(result, MAX_RECORDS + 1))
    if len(records) > MAX_RECORDS:
        raise InvalidRecord(f"{hook} returned more than {MAX_RECORDS} records")
    try:
        check_types(records, hooks.RECORDS[hook])
    except InvalidRecord as error:
        raise InvalidRecord(f"{hook}: {error}") from None
    return records


def _record(
    candidate: Candidate, status: str, error: str = "", file: str = "", milliseconds: float = 0.0
) -> PluginRecord:
    return PluginRecord(
        candidate.namespace, candidate.distribution, candidate.version, status, error, file, round(milliseconds, 2)
    )


def _file_of(plugin: object) -> str:
    module = plugin if isinstance(plugin, ModuleType) else sys.modules.get(type(plugin).__module__)
    return getattr(module, "__file__", None) or ""


def _where(error: BaseException) -> str:
    """The innermost frame outside this package and the import system: the plugin's own line, where there is one."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith("<") and not any(
            part in frame.filename for part in ("zoo_registry", "pluggy", "importlib")
        ):
            return f"{frame.filename}:{frame.lineno}"
    return ""


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, InvalidRecord):
        return text
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__
