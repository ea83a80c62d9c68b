"""From a run folder to an export folder: trace, convert, measure on the run's own data, and only then hand over."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

import zoo
from zoo.console import say
from zoo.data.dataset import Table
from zoo.exporting.card import write_card
from zoo.exporting.files import add_tokenizer, described, opset_of, seal
from zoo.exporting.pairs import build_pair
from zoo.exporting.parity import Parity, compare, compare_next, latencies, pick
from zoo.exporting.precision import mostly_convolutions, to_fp16, to_int8, to_int8_dynamic
from zoo.exporting.preprocess import check_supported, prepend_preprocessing, preprocess_graph
from zoo.exporting.samples import Samples, calibration_batches, parity_samples, typical_sample
from zoo.exporting.trace import LARGE, trace, weight_bytes
from zoo.exporting.zero_shot import zero_shot_model
from zoo.images import load_image, load_raw
from zoo.pair_targets import is_pair, open_torch
from zoo.prepared import run_data
from zoo.protocols import Frames
from zoo.run import open_run, versions
from zoo.serve_model import (
    FORMAT,
    MODEL_FILE,
    SCHEMA_VERSION,
    OnnxModel,
    is_export,
    open_session,
    read_meta,
)
from zoo.targets import answer
from zoo.torch_model import TorchModel
from zoo_registry.errors import DataError, UsageError, ZooError
from zoo_registry.specs import InputSpec

CARD_FILE = "MODEL_CARD.md"
PARITY_SAMPLES = 1000
LATENCY_SECONDS = 3.0

# (least agreement, largest logit difference). Host float32 repeats the same arithmetic, so anything but equality is a
# fault. A resize in the graph rounds some pixels otherwise, and fewer bits move logits: there the answers count.
LIMITS: dict[tuple[str, str], tuple[float, float]] = {
    ("host", "fp32"): (1.0, 1e-3),
    ("graph", "fp32"): (0.99, math.inf),
    ("host", "fp16"): (0.99, math.inf),
    ("graph", "fp16"): (0.99, math.inf),
    ("host", "int8"): (0.95, math.inf),
    ("graph", "int8"): (0.95, math.inf),
}
# Sums over seconds of sound, and logarithms of what is nearly silent, round otherwise in another order; cosines are
# multiplied by up to 100.
LOOSE = 1e-2
Build = Callable[[Path], tuple[Parity, dict[str, Any]]]
"""Fills a folder."""
LOWER_IS_BETTER = ("mae", "perplexity", "wer", "cer", "eer")

# What the export's model.json takes over from the run's.
_KEPT = (
    *("model_id", "weights_id", "weights_sha256", "plugin", "plugin_version", "head", "task", "labels"),
    *("input", "input_name", "preprocessing", "data"),
)


@dataclass(frozen=True)
class ExportResult:
    """What was written and measured.

    Attributes:
        path: the export folder.
        meta: its ``model.json``.
        parity: torch against the export.
    """

    path: Path
    meta: dict[str, Any]
    parity: Parity


def export(
    run: str | Path,
    output: str | Path,
    *,
    preprocess: str = "host",
    precision: str = "fp32",
    tolerance: float | None = None,
    min_agreement: float | None = None,
    force: bool = False,
    labels: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
) -> ExportResult:
    """Write ``model.onnx``, ``model.json``, ``MODEL_CARD.md`` and, for texts, ``tokenizer.json`` to ``output``. Of a
    model of pairs a graph for each side, ``image.onnx`` and ``text.onnx`` (:mod:`zoo.serve_pairs`); with ``labels`` one
    graph, a classifier between them.

    Args:
        run: a finished run folder, or the name of a model of pairs.
        output: a folder that does not exist or is empty.
        preprocess: ``"host"``: the graph takes prepared float32 images, token ids, or waveforms; ``"graph"``: raw uint8
            (batch, height, width, 3), with resizing, cropping and normalisation inside (images alone).
        precision: ``"fp32"``, ``"fp16"``, or ``"int8"``: calibrated on training samples for images and for networks of
            sound that are mostly convolutions, else dynamic.
        tolerance: largest accepted difference of a logit; None: 1e-3 (sounds and pairs: 1e-2) for float32 with host
            preprocessing, else any.
        min_agreement: least accepted share of equal answers; None: 1.0, 0.99 (graph or fp16) or 0.95 (int8).
        force: replace ``output`` if it is an export.
        labels: what a model of pairs shall choose between, fixed in the graph.
        templates: sentences with ``{}`` for a label; None: those of :mod:`zoo.prompts`.

    Raises:
        UsageError: options that do not fit, no finished run, or an output folder in use.
        ZooError: the model cannot be traced, or the export differs from it by more than accepted. Nothing is left.
    """
    output = Path(output)
    if preprocess not in ("host", "graph") or precision not in ("fp32", "fp16", "int8"):
        raise UsageError(f"There is no export with {preprocess!r} and {precision!r}.", "See zoo export --help.")
    if is_export(Path(run)):
        raise UsageError(f"{run} is an export already.", "Give the run or the model that it was made from.")
    _check_output(output, force)
    build, usual = _plan(run, preprocess, precision, labels, templates)
    if tolerance is None and (preprocess, precision) == ("host", "fp32"):
        tolerance = usual
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.", "Choose another -o.") from error
    try:
        parity, meta = build(folder)
        _accept(parity, meta, preprocess, precision, tolerance, min_agreement)
        _hand_over(folder, output, force)
    except OSError as error:
        raise ZooError(f"{output} cannot be written: {error}.", "Free some space or choose another -o.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return ExportResult(output, meta, parity)


def _plan(
    target: str | Path,
    preprocess: str,
    precision: str,
    labels: Sequence[str] | None,
    templates: Sequence[str] | None,
) -> tuple[Build, float | None]:
    """(what fills the folder, the usual tolerance of logits where it is not that of :data:`LIMITS`)."""
    registry = zoo.default_registry()
    if labels is not None:
        if precision == "int8":
            raise UsageError(
                "int8 is calibrated on labelled training samples, and labels by name have none.",
                "Export with --precision fp32 or fp16.",
            )
        model, samples = zero_shot_model(target, labels, templates, registry)
        _check_precision(model, preprocess, precision)
        return partial(_build, model=model, samples=samples, preprocess=preprocess, precision=precision), LOOSE
    if templates is not None:
        raise UsageError("Templates are sentences around labels, and there are no labels.", "Add --labels.")
    if is_pair(target, registry):
        if (preprocess, precision) != ("host", "fp32"):
            raise UsageError(
                f"{target} is a model of pairs, whose two towers are exported in fp32 with host preprocessing alone.",
                "Leave --precision and --preprocess out, or export a classifier: --labels 'a cat,a dog'",
            )
        return partial(build_pair, target=target, pair=open_torch(target, registry, "cpu"), registry=registry), LOOSE
    opened = open_run(target)
    model = TorchModel(opened.path, device="cpu")
    if not model.meta.get("metrics"):
        model.meta["metrics"] = opened.manifest.get("metrics") or {}
    _check_precision(model, preprocess, precision)
    modality = model.meta["input"]["modality"]
    calibrates = precision == "int8" and modality != "text"
    data = run_data(opened, model.pipeline, ("train", "val") if calibrates else ("val",))
    rows = pick(len(data.stores["val"]), PARITY_SAMPLES)
    samples = Samples(parity_samples(data, "val", rows), calibration=partial(calibration_batches, model, data))
    build = partial(_build, model=model, samples=samples, preprocess=preprocess, precision=precision)
    return build, LOOSE if modality == "audio" else None


def _check_precision(model: TorchModel, preprocess: str, precision: str) -> None:
    """Raise UsageError where the model cannot be exported so."""
    if preprocess == "graph":
        check_supported(InputSpec.from_dict(model.meta["input"]))
    if weight_bytes(model.module) > LARGE and (preprocess, precision) != ("host", "fp32"):
        raise UsageError("The model is too large for one ONNX file.", "Export with host preprocessing in fp32.")


def _build(
    folder: Path, *, model: TorchModel, samples: Samples, preprocess: str, precision: str
) -> tuple[Parity, dict[str, Any]]:
    spec = InputSpec.from_dict(model.meta["input"])
    target = folder / MODEL_FILE
    plain = folder / "fp32.onnx"
    say(f"export: tracing {model.meta['model_id']}")
    trace(model.trained.task, target, model.meta["model_id"])
    meta = _meta(model, target, preprocess, precision)
    add_tokenizer(folder, meta["preprocessing"], model.pipeline)
    if precision != "fp32":
        target.rename(plain)
        say(f"export: converting to {precision}")
        if precision == "fp16":
            to_fp16(plain, target)
        elif spec.modality == "text" or (spec.modality == "audio" and not mostly_convolutions(plain)):
            to_int8_dynamic(plain, target)
        else:
            assert samples.calibration is not None
            feeds = samples.calibration()
            to_int8(plain, target, feeds)
            meta["calibration"] = {
                "samples": sum(len(one[model.pipeline.input_name]) for one in feeds),
                "split": "train",
            }
    if preprocess == "graph":
        for path in (target, plain):
            if path.exists():
                onnx.save_model(prepend_preprocessing(onnx.load(str(path)), spec), str(path))
    graph = described(target)
    meta |= {"onnx_inputs": graph["inputs"], "onnx_outputs": graph["outputs"]}
    read = (f"{MODEL_FILE}*", str(meta["preprocessing"].get("tokenizer", MODEL_FILE)))
    seal(folder, meta, read)

    exported = OnnxModel(folder)
    table = samples.table
    say(f"export: comparing with torch on {len(table)} {samples.described}")
    parity = _compare(model, exported, table)
    meta["parity"] = {**dataclasses.asdict(parity), "data": samples.name}
    if preprocess == "graph":
        meta["parity"]["pixels"] = _pixel_difference(model, folder / MODEL_FILE, spec, table.columns["input"][:100])
    meta["latency"] = _latency(model, exported, plain if plain.exists() else None, typical_sample(exported, table))
    meta["notes"] = _notes(parity, meta, precision)
    plain.unlink(missing_ok=True)
    seal(folder, meta, read)
    (folder / CARD_FILE).write_text(write_card(meta), encoding="utf-8")
    return parity, meta


def _compare(model: TorchModel, exported: OnnxModel, table: Table) -> Parity:
    if model.task == "generation":
        items = table.columns["input"]
        return compare_next(model, exported, [item if isinstance(item, str) else item[0] for item in items])
    torch_side, onnx_side = answer(model, table, 16), answer(exported, table, 16)
    if onnx_side.bad or torch_side.bad:
        raise DataError(
            f"{len(onnx_side.bad)} validation inputs that training read cannot be read now.",
            "Restore the data, or train again.",
        )
    return compare(torch_side, onnx_side, model.task, model.labels)


def _meta(model: TorchModel, path: Path, preprocess: str, precision: str) -> dict[str, Any]:
    backbone = model.module.backbone
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        **{key: model.meta.get(key) for key in _KEPT},
        "metrics": model.meta.get("metrics") or {},
        **({"zero_shot": model.meta["zero_shot"]} if "zero_shot" in model.meta else {}),
        "preprocess": preprocess,
        "precision": precision,
        "opset": opset_of(path),
        "versions": versions("onnx", "onnxruntime", "timm"),
        "trained_sha256": model.meta.get("sha256", {}),
        **({"frame_seconds": backbone.frame_seconds} if isinstance(backbone, Frames) else {}),
    }


def _pixel_difference(model: TorchModel, path: Path, spec: InputSpec, items: list[Any]) -> dict[str, float]:
    """Prepared pixels of the graph against the pipeline's, in levels of 0..255."""
    front = path.with_name("front.onnx")
    onnx.save_model(preprocess_graph(spec, opset=20, ir_version=10), str(front))
    session = open_session(front)
    front.unlink()
    scale = 255 * np.array(spec.std, np.float32)[:, None, None]
    describe = model.pipeline.describe()
    worst, off = 0.0, []
    for item in items:
        got = session.run(None, {"pixels": load_raw(item)[None]})[0][0]
        levels = np.abs(got - load_image(item, describe)) * scale
        worst = max(worst, float(levels.max()))
        off.append(float((levels > 0.5).mean()))
    return {"samples": len(items), "max_levels": round(worst, 2), "share_differing": float(np.mean(off))}


def _latency(model: TorchModel, exported: OnnxModel, plain: Path | None, array: np.ndarray) -> dict[str, Any]:
    """Batch 1 on one thread each: with more, the two libraries' waiting threads slow each other down, and a busy
    machine stalls one of them far more than the other. With the preprocessing in the graph both sides start from
    decoded full-size pixels, else from what the network takes."""
    feed = exported.feed([array])
    names = {"onnx_ms": exported.path / MODEL_FILE} | ({"onnx_fp32_ms": plain} if plain is not None else {})
    calls: dict[str, Callable[[], object]] = {name: _onnx_call(path, feed) for name, path in names.items()}
    if exported.in_graph:
        calls["torch_ms"] = lambda: model.run([model.decode(array)])
    else:
        network = model.module.export_module()
        tensors = [torch.from_numpy(feed[name]) for name in model.module.example_inputs(1)]
        calls["torch_ms"] = torch.inference_mode()(lambda: network(*tensors))
    found = latencies(calls, seconds=LATENCY_SECONDS)
    result: dict[str, Any] = {name: round(value, 3) for name, value in found.items()}
    result["threads"] = 1
    if exported.texts is not None:
        result["tokens"] = len(array)
    if exported.sounds is not None:
        result["seconds"] = round(len(array) / exported.sounds.rate, 3)
    result["speedup_over_torch"] = round(found["torch_ms"] / found["onnx_ms"], 2)
    if plain is not None:
        result["speedup_over_onnx_fp32"] = round(found["onnx_fp32_ms"] / found["onnx_ms"], 2)
    return result


def _onnx_call(path: Path, feed: dict[str, np.ndarray]) -> Callable[[], object]:
    session = open_session(path, threads=1)
    return lambda: session.run(None, feed)


def _notes(parity: Parity, meta: dict[str, Any], precision: str) -> list[str]:
    """What a buyer would want to be told without asking."""
    notes = []
    latency = meta["latency"]
    if latency["speedup_over_torch"] < 1:
        notes.append(
            f"Slower than torch on this machine: {latency['onnx_ms']:.2f} against {latency['torch_ms']:.2f} ms."
        )
    if precision != "fp32":
        factor = latency["speedup_over_onnx_fp32"]
        if factor < 1:
            notes.append(
                f"{precision} is SLOWER than fp32 in onnxruntime on this CPU: {latency['onnx_ms']:.2f} against "
                f"{latency['onnx_fp32_ms']:.2f} ms. Export with --precision fp32 unless size matters more."
            )
        else:
            notes.append(f"{precision} is {factor:.2f}x as fast as fp32 in onnxruntime on this CPU.")
    if parity.scores is not None and precision != "fp32":
        before, after = parity.scores
        if (after > before) if parity.score_name in LOWER_IS_BETTER else (after < before):
            notes.append(
                f"{precision} loses: {parity.score_name} {before:.4f} became {after:.4f} on {parity.samples} samples."
            )
    return notes


def _accept(
    parity: Parity,
    meta: dict[str, Any],
    preprocess: str,
    precision: str,
    tolerance: float | None,
    min_agreement: float | None,
) -> None:
    least, largest = LIMITS[preprocess, precision]
    least = least if min_agreement is None else min_agreement
    largest = largest if tolerance is None else tolerance
    faults = []
    # Written so that NaN, which compares false with everything, is a fault.
    if not parity.agreement >= least:
        faults.append(f"the labels agree on {parity.agreement:.2%} of {parity.samples} samples, less than {least:.2%}")
    if not parity.max_logit_difference <= largest:
        faults.append(f"a logit differs by {parity.max_logit_difference:.3g}, more than {largest:.3g}")
    if faults:
        raise ZooError(
            f"The export differs from the trained model: {'; '.join(faults)}{_scored(parity)}. Nothing was written.",
            "Accept it with --min-agreement or --tolerance"
            + (", or export with --precision fp32." if precision != "fp32" else ", or report the model as a bug."),
        )


def _scored(parity: Parity) -> str:
    if parity.scores is None:
        return ""
    before, after = parity.scores
    return f" ({parity.score_name} {before:.4f} in torch, {after:.4f} exported)"


def _check_output(output: Path, force: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not output.is_dir():
        raise UsageError(f"{output} exists and is a file.", "Choose another -o.")
    if not force:
        raise UsageError(f"{output} exists and is not empty.", "Choose another -o, or --force to replace an export.")
    if is_export(output):
        read_meta(output)
        return
    raise UsageError(f"{output} is not an export, so --force does not replace it.", "Choose another -o.")


def _hand_over(folder: Path, output: Path, force: bool) -> None:
    """Rename the finished folder into place; the old export goes last."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)  # mkdtemp makes it private
    _check_output(output, force)
    old = None
    if output.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{output.name}.old.", dir=output.parent))
        os.replace(output, old)
    os.rename(folder, output)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
