"""Which models of pairs ``predict``, ``evaluate`` and ``export`` are given: a name, a run, an export. Imports no torch
until one is opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import zoo
from zoo.console import say
from zoo.prompts import BARE, TEMPLATES, check_labels, check_templates
from zoo.serve_model import is_export
from zoo.serve_pairs import OnnxPair, is_pair_export
from zoo.towers import pair_with, run_model
from zoo.zeroshot import TEXT, Pair, ZeroShot, classified_side, no_text_tower
from zoo_registry.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from zoo.torch_pair import TorchPair
    from zoo_registry.registry import Registry, ResolvedModel

HOW = "Say what to choose from: --labels 'a cat,a dog', or --labels @FILE with a label a line."


def is_pair(target: str | Path, registry: Registry | None = None) -> bool:
    """Whether a path or a name is a model of pairs, a run of one, or an export of one."""
    path = Path(target)
    if path.exists() and is_export(path):
        return is_pair_export(path)
    return _model_of(target, registry or zoo.default_registry()) is not None


def open_pair(target: str | Path, registry: Registry | None = None, device: str | None = None) -> Pair:
    """What :func:`is_pair` found. ``device`` is for torch: ``"cuda"``, ``"mps"`` or ``"cpu"``; chosen if None.

    Raises:
        ZooError: as :class:`zoo.serve_pairs.OnnxPair` and :func:`open_torch`.
    """
    path = Path(target)
    if path.exists() and is_export(path):
        return OnnxPair(path)
    return open_torch(target, registry or zoo.default_registry(), device)


def open_torch(target: str | Path, registry: Registry, device: str | None = None) -> TorchPair:
    """A model of pairs by name with its weights, or a finished run of one.

    Raises:
        UsageError: there are no weights of it.
        WeightsError: they cannot be had, or the run did not finish.
    """
    from zoo.torch_pair import open_torch_pair

    if Path(target).exists():
        resolved = _model_of(target, registry)
        assert resolved is not None
        return open_torch_pair(resolved.id, registry, weights=str(target), device=device)
    resolved = registry.model(str(target))
    if resolved.weights is None:
        raise UsageError(
            f"There are no pretrained weights of {resolved.id}.",
            f"Train it first, and give the run: zoo pretrain {target} --objective clip --data PAIRS",
        )
    return open_torch_pair(str(target), registry, device=device)


def open_zero_shot(
    target: str | Path,
    labels: Sequence[str],
    templates: Sequence[str] | None = None,
    registry: Registry | None = None,
    device: str | None = None,
) -> ZeroShot:
    """A model of pairs as a classifier between labels, which is said.

    Raises:
        UsageError: no model of pairs, one without a text tower, or labels or templates that make no sense.
        UnknownName: no such path or name.
        ZooError: as :func:`open_pair`.
    """
    labels = check_labels(labels)
    if templates is not None:
        check_templates(templates)
    if not is_pair(target, registry):
        raise _no_labels(target, registry or zoo.default_registry())
    if not is_export(Path(target)):  # before its weights are fetched
        resolved = _model_of(target, registry or zoo.default_registry())
        assert resolved is not None
        if TEXT not in resolved.spec.towers:
            raise no_text_tower(resolved.id, tuple(resolved.spec.towers))
    return zero_shot(open_pair(target, registry, device), labels, templates)


def zero_shot(pair: Pair, labels: Sequence[str], templates: Sequence[str] | None) -> ZeroShot:
    """:class:`zoo.zeroshot.ZeroShot`, announced: reading many labels takes a while."""
    used = TEMPLATES.get(classified_side(pair), BARE) if templates is None else templates
    each = f"{len(used)} sentence{'s' if len(used) != 1 else ''} each"
    say(f"zero-shot: {len(labels):,} labels in {each}; scores are a softmax over these labels")
    return ZeroShot(pair, labels, used)


def needs_labels(target: str | Path) -> UsageError:
    """What is said where a model of pairs is to classify, and nobody said between what."""
    return UsageError(f"{target} is a model of pairs, which knows no labels of its own.", HOW)


def _model_of(target: str | Path, registry: Registry) -> ResolvedModel | None:
    """The model of pairs that a run is of, or a name; None for everything else."""
    path = Path(target)
    if path.exists():
        name = run_model(path)
        if name is None and (path / "state.json").is_file() and (name := run_model(path.parent.parent)):
            found = _named(name, registry)
            if found is not None:
                raise UsageError(
                    f"{path} is a checkpoint of a run of pairs.", f"Give the finished run: {path.parent.parent}"
                )
            return None
    else:
        name = str(target)
    return _named(name, registry) if name else None


def _named(name: str, registry: Registry) -> ResolvedModel | None:
    try:
        found = registry.model(name)
    except UnknownName:
        return None
    return found if found.spec.towers else None


def _no_labels(target: str | Path, registry: Registry) -> UsageError:
    """Why a target that is no model of pairs takes no labels.

    Raises:
        UnknownName, AmbiguousName: there is no such name either.
    """
    path = Path(target)
    if path.exists():
        what = "an export with labels of its own" if is_export(path) else "no model of pairs"
        return UsageError(
            f"{path} is {what}, so it does not choose between others.",
            "Leave --labels and --template out, or give a model of images and texts.",
        )
    resolved = registry.model(str(target))
    pair = pair_with(resolved.id, registry)
    instead = f"Did you mean {pair[0].id}?" if pair else "Choose a model of images and texts, such as a CLIP model."
    return UsageError(f"{resolved.id} has no text tower, so labels mean nothing to it.", instead)
