"""From a run folder to weights that others can use: files, a model card, and a package for pip."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zoo
from zoo.local import package_folder
from zoo.publishing.card import render_card
from zoo.publishing.wheel import write_wheel
from zoo.run import Run, open_run, write_json
from zoo.run_facts import run_facts
from zoo.weights.hashes import sha256_of
from zoo_registry.builders import installed
from zoo_registry.errors import UnknownName, UsageError, WeightsError, ZooError
from zoo_registry.registry import Registry, ResolvedModel
from zoo_registry.specs import InputSpec, WeightsSpec
from zoo_registry.validation import NAME

WEIGHTS = "backbone.safetensors"
NOT_PUBLISHED = {"model.json", "head.safetensors", WEIGHTS}
VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?\Z")

_PLUGIN = '''\
"""What zoo lists of these weights. Written by zoo publish."""

from zoo_registry import InputSpec, WeightsSpec, hookimpl


@hookimpl
def zoo_weights():
    return [
        {record},
    ]
'''


@dataclass(frozen=True)
class Published:
    """What :func:`publish` wrote.

    Attributes:
        path: the folder.
        wheel: the package in it.
        weights: what to say to zoo once it is installed: ``vision/resnet50@acme`` or ``package:resnet50_acme``.
    """

    path: Path
    wheel: Path
    weights: str

    @property
    def command(self) -> str:
        """That finetunes from the installed package."""
        return f"zoo finetune {self.weights} --data DATA"


def publish(
    run: str | Path,
    output: str | Path,
    *,
    name: str | None = None,
    version: str = "0.1.0",
    license: str = "",
    force: bool = False,
    registry: Registry | None = None,
) -> Published:
    """Write a run's backbone so that others can start from it.

    ``output`` becomes a model folder (``zoo finetune OUTPUT --data ...``) with ``backbone.safetensors`` under the
    original library's names, ``model.json``, what the input needs (a tokenizer), the model card ``README.md`` and a
    wheel of it all. Installed, no network needed, the wheel adds one tag to the run's model: ``resnet50@NAME``. Of
    models that are too many to list, and of pairs, it is reached as ``package:IMPORT_NAME``. The head of a finetuning
    run is left out: ``zoo export`` is for that. Paths of this machine are left out too.

    Args:
        run: a finished run of any verb.
        output: folder to make.
        name: the tag; the name of the data if None.
        version: of the package, such as ``"1.2.0"``.
        license: SPDX identifier of the weights; the card says so where it is not stated.
        force: replace ``output`` where it was published before.

    Raises:
        UsageError: no finished run, a name or version that is none, a tag that the model has already, or a folder that
            is in the way.
        WeightsError: the run's weights are not those it wrote.
        ZooError: the disk refused; nothing half-written stays.
    """
    registry = registry or zoo.default_registry()
    made, output = open_run(run), Path(output)
    meta = _finished(made)
    model = registry.model(meta["model_id"])
    name = name or _slug(str(meta["data"]["name"]))
    _check(name, version, license)
    _check_output(output, force)
    distribution = f"{_slug(model.spec.name)}-{_slug(name)}".lower().replace("_", "-")
    package = distribution.replace("-", "_")
    _check_free(package, f"{model.id}@{name}", registry)
    own = registry.means(model.spec.name) == model.id
    named = f"{model.spec.name if own else model.id}@{name}" if _listable(model, registry) else ""
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        wheel = _write(temporary, made, meta, model, registry, name, version, license, distribution, package, named)
        if output.exists():
            shutil.rmtree(output)
        temporary.replace(output)
    except OSError as error:
        raise ZooError(
            f"{output} cannot be written: {error.strerror or error}.", "Free some space, or choose another -o."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Published(output, output / wheel.name, named or f"package:{package}")


def _write(
    folder: Path,
    run: Run,
    meta: dict[str, Any],
    model: ResolvedModel,
    registry: Registry,
    name: str,
    version: str,
    license: str,
    distribution: str,
    package: str,
    named: str,
) -> Path:
    """Fill the folder; returns its wheel."""
    source = run.path / "model"
    assets = sorted(
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and path.name not in NOT_PUBLISHED and not path.name.startswith(".")
    )
    for file in (WEIGHTS, *assets):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, folder / file)
    digests = {file: sha256_of(source / file) for file in (WEIGHTS, *assets)}
    about = {"name": name, "version": version, "license": license, "distribution": distribution}
    meta = {**meta, "published": about, "sha256": {WEIGHTS: digests[WEIGHTS]}}
    write_json(folder / "model.json", meta)
    facts = _private(run_facts(run))
    wheel_name = f"{package}-{version}-py3-none-any.whl"
    base = _begun_with(meta["weights_id"], registry)
    card = render_card(
        meta,
        facts,
        model.spec,
        title=distribution,
        wheel=wheel_name,
        load=f'"{named}"' if named else f'"{model.id}", weights="package:{package}"',
        command=Published(folder, folder, named or f"package:{package}").command,
        started=_started(meta),
        license=license,
        base_license=base.license if base else "",
        digests=digests,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    files: dict[str, Path | str] = {f"{package}/__init__.py": f'"""Weights of {model.id} for zoo."""\n'}
    entry_points = ""
    if named:
        record = WeightsSpec(
            model=model.id,
            tag=name,
            sources=(f"package:{package}/{WEIGHTS}",),
            sha256=digests[WEIGHTS],
            input=dataclasses.replace(InputSpec.from_dict(meta["input"]), assets=""),
            license=license,
            dataset=str(meta["data"]["name"]),
            summary=f"Of {distribution} {version}.",
            companions=tuple(assets),
        )
        files[f"{package}/plugin.py"] = _PLUGIN.format(record=_code(record))
        entry_points = f"[zoo.v1]\n{distribution} = {package}.plugin\n"
    for file in ("model.json", WEIGHTS, *assets):
        files[f"{package}/{file}"] = folder / file
    header = {"Summary": f"Weights of {model.id} for zoo.", "Requires-Python": ">=3.11"}
    if license:
        header["License"] = license
    return write_wheel(folder, distribution, version, files, metadata=header, readme=card, entry_points=entry_points)


def _finished(run: Run) -> dict[str, Any]:
    """What model.json says of a run's backbone, without its head and without paths.

    Raises:
        UsageError: the run has no model yet.
        WeightsError: the weights are damaged.
    """
    folder = run.path / "model"
    if run.manifest.get("status") != "finished" or not (folder / WEIGHTS).is_file():
        raise UsageError(f"The run {run.path} did not finish, so it has no weights to publish.", run.remedy())
    try:
        meta: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        expected = meta["sha256"][WEIGHTS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / 'model.json'} is damaged: {error}.", "Restore it, or train again.") from error
    if sha256_of(folder / WEIGHTS) != expected:
        raise WeightsError(f"{folder / WEIGHTS} is not the file the run wrote.", "Restore it, or train again.")
    kept = {key: value for key, value in meta.items() if key not in ("head", "labels", "sha256")}
    begun = str(meta.get("weights_id"))
    kept["weights_id"] = begun if begun == "none" or "@" in Path(begun).name else "a file or run of the publisher's"
    kept["data"] = {key: value for key, value in meta["data"].items() if key != "origin"}
    return kept


def _private(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts whose settings hold names of files, not where they lie."""
    learned = dict(facts["learned"])
    if "options" in learned:
        learned["options"] = {
            key: Path(value).name if isinstance(value, str) and os.sep in value and Path(value).exists() else value
            for key, value in learned["options"].items()
        }
    return {**facts, "learned": learned}


def _begun_with(weights_id: str, registry: Registry) -> WeightsSpec | None:
    """The record of the published weights that a run started from."""
    if "@" not in weights_id:
        return None
    try:
        return registry.model(weights_id).weights
    except UnknownName:
        return None


def _started(meta: dict[str, Any]) -> str:
    if meta["weights_id"] == "none":
        return "random numbers"
    digest = f", sha256 `{meta['weights_sha256']}`" if meta.get("weights_sha256") else ""
    return f"{meta['weights_id']}{digest}"


def _code(record: WeightsSpec | InputSpec) -> str:
    """The record as Python, without what is left at its default."""
    told = []
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if value != field.default:
            told.append(f"{field.name}={_code(value) if isinstance(value, InputSpec) else repr(value)}")
    return f"{type(record).__name__}({', '.join(told)})"


def _listable(model: ResolvedModel, registry: Registry) -> bool:
    """Whether another package may add weights to the model: it is listed by itself, and no model of pairs, whose
    towers would need the same tag."""
    return model.id in {entry.id for entry in registry.models()} and not model.spec.towers


def _check(name: str, version: str, license: str) -> None:
    if not NAME.match(name):
        raise UsageError(f"{name!r} is no name for weights.", "Use letters, digits and _ . + - only, such as acme.")
    if not VERSION.match(version):
        raise UsageError(f"{version!r} is no version of a package.", "Write it like 1.2.0, 1.2.0rc1 or 1.2.0.post1.")
    if "\n" in license:
        raise UsageError("The licence has several lines.", "Give its SPDX identifier, such as Apache-2.0.")


def _check_free(package: str, weights_id: str, registry: Registry) -> None:
    """Raises UsageError where the name means something else already, on this machine at least."""
    mine = package_folder(f"package:{package}") is not None  # an earlier version
    if installed(package) and not mine:
        raise UsageError(f"There is a Python package {package} already.", "Choose another --name.")
    model_id, _, tag = weights_id.partition("@")
    taken = next((spec for spec in registry.weights_of(model_id) if spec.tag == tag), None)
    if taken is not None and not any(source.startswith(f"package:{package}/") for source in taken.sources):
        raise UsageError(f"{model_id} has weights called {tag} already.", "Choose another --name.")


def _check_output(output: Path, force: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not output.is_dir() or not _was_published(output):
        raise UsageError(f"{output} exists and holds other files.", "Choose another -o.")
    if not force:
        raise UsageError(f"{output} holds published weights.", "Choose another -o, or --force to replace them.")


def _was_published(folder: Path) -> bool:
    try:
        return "published" in json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _slug(text: str) -> str:
    """Text as part of a package's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "weights"
