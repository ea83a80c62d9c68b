"""Everything the loaded plugins provide, and what a name means.

A bare name means, in this order: the user's alias, the built-in plugins' alias, the built-in plugins' name, the only
provider. Anything else is an error that lists the candidates. So installing a plugin never changes what a name meant.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import pluggy

from zoo_registry import hooks
from zoo_registry.builders import DISTRIBUTION, load_builder
from zoo_registry.errors import AmbiguousName, MissingDependency, PluginError, UnknownName, ZooError
from zoo_registry.loader import Candidate, Loaded, PluginRecord, describe, discover, load_plugins
from zoo_registry.names import did_you_mean, near, parse
from zoo_registry.settings import Settings, load_settings
from zoo_registry.specs import DatasetSpec, HeadSpec, ModelSpec, ObjectiveSpec, WeightsSpec


class Entry(NamedTuple):
    """A record with its full name and its provider."""

    id: str
    namespace: str
    spec: Any
    plugin: PluginRecord


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What a model name means.

    Attributes:
        id: ``"vision/resnet50"``.
        weights: the named or default checkpoint; ``None`` where the model has none.
        note: what a careful person would want to know about the resolution; often empty.
        spare: the checkpoint to take where the default one is out of reach; None where the name chose its weights.
    """

    id: str
    spec: ModelSpec
    weights: WeightsSpec | None
    plugin: PluginRecord
    note: str = ""
    spare: WeightsSpec | None = None


class _Alias(NamedTuple):
    """A plugin's other name of one of its models."""

    entry: Entry
    tag: str | None


class Registry:
    """The records of one set of loaded plugins. Build it with :func:`build_registry`."""

    def __init__(self, manager: pluggy.PluginManager, loaded: Sequence[Loaded], settings: Settings) -> None:
        self.manager = manager
        self._plugins = [item.record for item in loaded]
        self._user_aliases = settings.aliases
        self._entries: dict[type, dict[str, Entry]] = {kind: {} for kind in hooks.RECORDS.values()}
        self._bare: dict[type, dict[str, list[Entry]]] = {kind: {} for kind in hooks.RECORDS.values()}
        self._aliases: dict[str, list[_Alias]] = {}
        self._weights: dict[str, list[WeightsSpec]] = {}
        self._prefixes: list[Entry] = []
        for item in loaded:
            self._add(item)
        for item in loaded:
            for spec in item.specs:
                if _is_of_another(spec):
                    self._add_to_another(spec, item.record)

    def _add_to_another(self, spec: WeightsSpec, plugin: PluginRecord) -> None:
        """Weights of another plugin's model: one more tag, which takes no other's place."""
        weights_id = f"{spec.model}@{spec.tag}"
        if spec.model not in self._entries[ModelSpec]:
            why = f"no plugin provides {spec.model}"
        elif weights_id in self._entries[WeightsSpec]:
            why = "that tag is taken"
        else:
            self._entries[WeightsSpec][weights_id] = Entry(weights_id, plugin.name, spec, plugin)
            self._weights.setdefault(spec.model, []).append(spec)
            return
        print(f"warning: the weights {weights_id} of plugin '{plugin.name}' are left out: {why}", file=sys.stderr)

    def _add(self, loaded: Loaded) -> None:
        plugin = loaded.record
        namespace = plugin.name
        for spec in loaded.specs:
            kind = type(spec)
            if _is_of_another(spec):
                continue
            if isinstance(spec, WeightsSpec):
                model_id = f"{namespace}/{spec.model}"
                self._weights.setdefault(model_id, []).append(spec)
                entry = Entry(f"{model_id}@{spec.tag}", namespace, spec, plugin)
            else:
                entry = Entry(f"{namespace}/{spec.name}", namespace, spec, plugin)
                self._bare[kind].setdefault(spec.name, []).append(entry)
                if isinstance(spec, ModelSpec):
                    for alias, tag in spec.aliases.items():
                        self._aliases.setdefault(alias, []).append(_Alias(entry, tag))
                    if spec.prefix:
                        self._prefixes.append(entry)
            self._entries[kind][entry.id] = entry

    def models(self) -> list[Entry]:
        """All architectures, plugin by plugin."""
        return list(self._entries[ModelSpec].values())

    def weights(self) -> list[Entry]:
        """All checkpoints; their ids are ``namespace/model@tag``."""
        return list(self._entries[WeightsSpec].values())

    def heads(self) -> list[Entry]:
        return list(self._entries[HeadSpec].values())

    def objectives(self) -> list[Entry]:
        return list(self._entries[ObjectiveSpec].values())

    def datasets(self) -> list[Entry]:
        return list(self._entries[DatasetSpec].values())

    def plugins(self) -> list[PluginRecord]:
        """Every plugin found, also those that did not load."""
        return list(self._plugins)

    def weights_of(self, model_id: str) -> list[WeightsSpec]:
        """The checkpoints of a model, given by its full name; empty where it has none."""
        return list(self._weights.get(model_id, ()))

    def head(self, name: str) -> Entry:
        return self._find(HeadSpec, "head", name)

    def dataset(self, name: str) -> Entry:
        """What a data set's name means, also with settings after a colon: ``fractals:classes=50``."""
        return self._find(DatasetSpec, "data set", name.partition(":")[0])

    def objective(self, name: str) -> Entry:
        return self._find(ObjectiveSpec, "objective", name)

    def heads_for(self, task: str, modality: str) -> list[Entry]:
        """The heads that serve a task on a modality, built-in ones first, and of those the ones for any modality."""
        fitting = [
            entry
            for entry in self.heads()
            if entry.spec.task == task and ({"any", modality} & set(entry.spec.modalities))
        ]
        return sorted(fitting, key=lambda entry: (not _is_builtin(entry), "any" not in entry.spec.modalities))

    def model(self, name: str) -> ResolvedModel:
        """What ``name`` means: ``resnet50``, ``vision/resnet50``, ``resnet50@a1_in1k``, an alias, or a name with a
        prefix that a plugin makes models of (``hf:org/name@revision``, ``spectrogram/resnet50``).

        Raises:
            UnknownName: nothing provides the model or the tag; near matches or the tags are named.
            AmbiguousName: several plugins provide a bare name; they are named.
            PluginError: the name's namespace belongs to a plugin that did not load.
        """
        wanted = parse(name)
        if not wanted.namespace and wanted.bare in self._user_aliases:
            return self._user_alias(wanted.bare, wanted.tag)
        return self._provided_model(name)

    def means(self, name: str) -> str | None:
        """The full name of the model that ``name`` means, or None where it means nothing or is ambiguous."""
        try:
            return self.model(name).id
        except ZooError:
            return None

    def _provided_model(self, name: str) -> ResolvedModel:
        if found := self._derived_model(name.strip()):
            return found
        wanted = parse(name)
        if wanted.namespace:
            entry = self._entries[ModelSpec].get(f"{wanted.namespace}/{wanted.bare}")
            alias = next((a for a in self._aliases.get(wanted.bare, ()) if a.entry.namespace == wanted.namespace), None)
            if entry is None and alias is None:
                raise self._unknown_model(name)
        else:
            entry, alias = self._bare_model(name, wanted.bare)
        if entry is not None:
            return self._resolved(entry, wanted.tag, self._same_name_note(entry))
        assert alias is not None
        return self._resolved(alias.entry, wanted.tag or alias.tag, self._alias_note(wanted.bare, alias))

    def _derived_model(self, name: str) -> ResolvedModel | None:
        """A model out of too many to list: the plugin's record for all of them, made out to one."""
        for entry in self._prefixes:
            bare = name.removeprefix(f"{entry.namespace}/")
            if not bare.startswith(entry.spec.prefix):
                continue
            derive = load_builder(entry.spec.derive)
            spec, weights = derive(entry.spec, bare.removeprefix(entry.spec.prefix), self)
            # It is one model now, and no longer stands for others.
            return ResolvedModel(
                f"{entry.namespace}/{spec.name}", dataclasses.replace(spec, prefix=""), weights, entry.plugin
            )
        return None

    def _bare_model(self, name: str, bare: str) -> tuple[Entry | None, _Alias | None]:
        models, aliases = self._bare[ModelSpec].get(bare, []), self._aliases.get(bare, [])
        for builtin in (True, False):
            named = [alias for alias in aliases if _is_builtin(alias.entry) is builtin]
            # An alias is a promise written by hand, an architecture's name may come from a library's long list.
            namespaces = {alias.entry.namespace for alias in named}
            own = [e for e in models if _is_builtin(e) is builtin and e.namespace not in namespaces]
            if len(named) + (0 if builtin and named else len(own)) > 1:
                raise _ambiguous("model", bare, [*(alias.entry for alias in named), *own])
            if named:
                return None, named[0]
            if own:
                return own[0], None
        raise self._unknown_model(name)

    def _user_alias(self, alias: str, tag: str) -> ResolvedModel:
        target = self._user_aliases[alias]
        base, _, own_tag = target.partition("@")
        try:
            # Never through another alias: so `resnet50 = "resnet50@a1_in1k"` works and no chain can go round.
            found = self._provided_model(f"{base}@{tag or own_tag}")
        except ZooError as error:
            raise type(error)(f"Your alias '{alias}' means '{target}': {error.problem}", error.remedy) from error
        shadows = alias in self._bare[ModelSpec] or alias in self._aliases
        note = f"'{alias}' is your alias of {target}" + (", in place of the model of that name." if shadows else ".")
        return dataclasses.replace(found, note=f"{note} {found.note}".strip())

    def _resolved(self, entry: Entry, tag: str | None, note: str) -> ResolvedModel:
        """A model with the weights that were named, else its default ones."""
        spare = None if tag else entry.spec.spare_weights
        tag = tag or entry.spec.default_weights
        if tag is None:
            return ResolvedModel(entry.id, entry.spec, None, entry.plugin, note)
        found = self._entries[WeightsSpec].get(f"{entry.id}@{tag}")
        if found is None:
            tags = [weights.tag for weights in self.weights_of(entry.id)]
            remedy = f"It has {', '.join(tags)}." if tags else "It has no pretrained weights; use --weights none."
            if note:
                remedy += f" ({note})"
            raise UnknownName(f"{entry.id} has no weights '{tag}'.", remedy)
        held = self._entries[WeightsSpec].get(f"{entry.id}@{spare}")
        return ResolvedModel(entry.id, entry.spec, found.spec, entry.plugin, note, held.spec if held else None)

    def _alias_note(self, bare: str, alias: _Alias) -> str:
        target = f"{alias.entry.id}@{alias.tag}" if alias.tag else alias.entry.id
        same = [entry.id for entry in self._bare[ModelSpec].get(bare, ()) if entry.id != alias.entry.id]
        other = f"; the network of that very name is {' or '.join(same)}" if same else ""
        return f"'{bare}' means {target}{other}."

    def _same_name_note(self, entry: Entry) -> str:
        taken = [alias for alias in self._aliases.get(entry.spec.name, ()) if alias.entry.id != entry.id]
        if not taken:
            return ""
        return f"The bare name '{entry.spec.name}' means {taken[0].entry.id}; write {entry.id} for this one."

    def _unknown_model(self, name: str) -> ZooError:
        wanted = parse(name)
        if error := self._plugin_at_fault(wanted.namespace, name):
            return error
        # timm writes checkpoints as architecture.tag; whoever does so here gets this project's spelling.
        base, dot, tag = wanted.bare.partition(".")
        entries = self._bare[ModelSpec].get(base, []) if dot else []
        if any(weights.tag == tag for entry in entries for weights in self.weights_of(entry.id)):
            return UnknownName(f"No model is named '{name}'.", f"Weights follow an @: {base}@{tag}")
        exists = os.path.exists(name)  # False, not an error, of names that no path can have
        if exists or os.path.isabs(name) or name.startswith("."):
            what = "holds no finished run" if exists else "does not exist"
            return UnknownName(f"{name} {what}, and no model has that name.", "Give a run's folder, or see: zoo list")
        if wanted.namespace and wanted.namespace not in {record.name for record in self._plugins}:
            spaces = ", ".join(sorted({entry.namespace for entry in self.models()}))
            return UnknownName(
                f"No plugin provides '{wanted.namespace}/', and there is no run folder {name}.",
                f"The plugins with models are: {spaces}.",
            )
        known = [*self._bare[ModelSpec], *self._aliases, *self._user_aliases]
        return UnknownName(
            f"No model is named '{name}'.",
            did_you_mean(near(wanted.bare, known), "`zoo list` shows every model, `zoo list PART` some."),
        )

    def _plugin_at_fault(self, namespace: str, name: str) -> ZooError | None:
        for record in self._plugins:
            if record.name != namespace or record.status in ("ok", "shadowed"):
                continue
            if record.status == "declined":
                return MissingDependency(f"'{name}' is not available: {describe(record)}", "Run `zoo plugins`.")
            remedy = {
                "failed": f"Repair or reinstall {record.distribution or record.name}, then run `zoo plugins --check`.",
                "blocked": "Change [plugins] in the configuration file, ZOO_PLUGINS_ALLOW or ZOO_PLUGINS_DENY.",
            }[record.status]
            return PluginError(f"'{name}' is not available: {describe(record)}.", remedy)
        return None

    def _find(self, kind: type, noun: str, name: str) -> Entry:
        wanted = parse(name)
        if wanted.namespace:
            if entry := self._entries[kind].get(name):
                return entry
            if error := self._plugin_at_fault(wanted.namespace, name):
                raise error
        found = [] if wanted.namespace else self._bare[kind].get(name, [])
        builtin = [entry for entry in found if _is_builtin(entry)]
        candidates = builtin or found
        if len(candidates) > 1:
            raise _ambiguous(noun, name, candidates)
        if not candidates:
            known = self._bare[kind]
            listed = f"Known: {', '.join(sorted(known))}." if known else "No plugin provides any."
            raise UnknownName(f"No {noun} is named '{name}'.", did_you_mean(near(wanted.bare, known), listed))
        return candidates[0]


def build_registry(plugins: Sequence[tuple[str, object] | Candidate] | None = None, autoload: bool = True) -> Registry:
    """Load plugins into a registry of their own.

    Args:
        plugins: (namespace, module or object with hook implementations), or :class:`Candidate` records, on top.
        autoload: also load the entry points of the group ``zoo.v1``.

    Raises:
        PluginError: a plugin failed and ``ZOO_STRICT_PLUGINS=1``.
        UsageError: the configuration file is wrong.
    """
    settings = load_settings()
    candidates = [item if isinstance(item, Candidate) else _given(*item) for item in plugins or ()]
    if autoload:
        candidates += discover()
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    # Thousands of records are made and none is garbage, so looking for some would be a tenth of `zoo list`.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return Registry(manager, load_plugins(candidates, manager, settings), settings)
    finally:
        if collecting:
            gc.enable()


def _given(namespace: str, plugin: object) -> Candidate:
    return Candidate(namespace, "", lambda: plugin)


def _is_of_another(spec: Any) -> TypeGuard[WeightsSpec]:
    """Whether it is of a model that its plugin names in full, because that is another's."""
    return isinstance(spec, WeightsSpec) and "/" in spec.model


def _is_builtin(entry: Entry) -> bool:
    return entry.plugin.distribution == DISTRIBUTION


def _ambiguous(noun: str, name: str, entries: Iterable[Entry]) -> AmbiguousName:
    listed = ", ".join(sorted(entry.id for entry in entries))
    return AmbiguousName(f"Several plugins provide the {noun} '{name}': {listed}.", "Write the full name of one.")
