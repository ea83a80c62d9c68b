"""From a run folder to an export folder: trace, convert, measure on the run's own data, and only then hand over."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from zoo.console import say
from zoo.data.dataset import Table
from zoo.exporting.card import write_card
from zoo.exporting.parity import Parity, compare, compare_next, latencies, pick
from zoo.exporting.precision import mostly_convolutions, to_fp16, to_int8, to_int8_dynamic
from zoo.exporting.preprocess import check_supported, prepend_preprocessing, preprocess_graph
from zoo.exporting.samples import calibration_batches, parity_samples, typical_sample
from zoo.exporting.trace import LARGE, trace, weight_bytes
from zoo.images import load_image, load_raw
from zoo.prepared import Prepared, run_data
from zoo.protocols import Frames, Portable
from zoo.run import Run, open_run, versions
from zoo.serve_model import (
    FORMAT,
    META_FILE,
    MODEL_FILE,
    SCHEMA_VERSION,
    OnnxModel,
    is_export,
    open_session,
    read_meta,
    sha256_of,
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
# Sums over seconds of sound, and logarithms of what is nearly silent, round otherwise in another order.
SOUND_TOLERANCE = 1e-2
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
) -> ExportResult:
    """Write ``model.onnx``, ``model.json``, ``MODEL_CARD.md`` and, for texts, ``tokenizer.json`` to ``output``.

    Args:
        run: a finished run folder.
        output: a folder that does not exist or is empty.
        preprocess: ``"host"``: the graph takes prepared float32 images, token ids, or waveforms; ``"graph"``: raw uint8
            (batch, height, width, 3), with resizing, cropping and normalisation inside (images alone).
        precision: ``"fp32"``, ``"fp16"``, or ``"int8"``: calibrated on training samples for images and for networks of
            sound that are mostly convolutions, else dynamic.
        tolerance: largest accepted difference of a logit; None: 1e-3 (sounds: 1e-2) for float32 with host
            preprocessing, else any.
        min_agreement: least accepted share of equal answers; None: 1.0, 0.99 (graph or fp16) or 0.95 (int8).
        force: replace ``output`` if it is an export.

    Raises:
        UsageError: options that do not fit, no finished run, or an output folder in use.
        ZooError: the model cannot be traced, or the export differs from it by more than accepted. Nothing is left.
    """
    output = Path(output)
    if preprocess not in ("host", "graph") or precision not in ("fp32", "fp16", "int8"):
        raise UsageError(f"There is no export with {preprocess!r} and {precision!r}.", "See zoo export --help.")
    _check_output(output, force)
    opened = open_run(run)
    model = TorchModel(opened.path, device="cpu")
    spec = InputSpec.from_dict(model.meta["input"])
    if preprocess == "graph":
        check_supported(spec)
    if weight_bytes(model.module) > LARGE and (preprocess, precision) != ("host", "fp32"):
        raise UsageError("The model is too large for one ONNX file.", "Export with host preprocessing in fp32.")
    if tolerance is None and spec.modality == "audio" and (preprocess, precision) == ("host", "fp32"):
        tolerance = SOUND_TOLERANCE
    calibrates = precision == "int8" and spec.modality != "text"
    splits = ("train", "val") if calibrates else ("val",)
    data = run_data(opened, model.pipeline, splits)

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.", "Choose another -o.") from error
    try:
        parity, meta = _build(folder, opened, model, data, spec, preprocess, precision)
        _accept(parity, meta, preprocess, precision, tolerance, min_agreement)
        _hand_over(folder, output, force)
    except OSError as error:
        raise ZooError(f"{output} cannot be written: {error}.", "Free some space or choose another -o.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return ExportResult(output, meta, parity)


def _build(
    folder: Path, run: Run, model: TorchModel, data: Prepared, spec: InputSpec, preprocess: str, precision: str
) -> tuple[Parity, dict[str, Any]]:
    target = folder / MODEL_FILE
    plain = folder / "fp32.onnx"
    say(f"export: tracing {model.meta['model_id']}")
    trace(model.trained.task, target, model.meta["model_id"])
    meta = _meta(model, target, run, preprocess, precision)
    _add_assets(folder, model, meta)
    if precision != "fp32":
        target.rename(plain)
        say(f"export: converting to {precision}")
        if precision == "fp16":
            to_fp16(plain, target)
        elif spec.modality == "text" or (spec.modality == "audio" and not mostly_convolutions(plain)):
            to_int8_dynamic(plain, target)
        else:
            feeds = calibration_batches(model, data)
            to_int8(plain, target, feeds)
            meta["calibration"] = {
                "samples": sum(len(one[model.pipeline.input_name]) for one in feeds),
                "split": "train",
            }
    if preprocess == "graph":
        for path in (target, plain):
            if path.exists():
                onnx.save_model(prepend_preprocessing(onnx.load(str(path)), spec), str(path))
    _describe_input(meta, target)
    _seal(folder, meta)

    exported = OnnxModel(folder)
    rows = pick(len(data.stores["val"]), PARITY_SAMPLES)
    table = parity_samples(data, "val", rows)
    say(f"export: comparing with torch on {len(table)} validation samples")
    parity = _compare(model, exported, table)
    meta["parity"] = {**dataclasses.asdict(parity), "data": "val"}
    if preprocess == "graph":
        meta["parity"]["pixels"] = _pixel_difference(model, folder / MODEL_FILE, spec, table.columns["input"][:100])
    meta["latency"] = _latency(model, exported, plain if plain.exists() else None, typical_sample(exported, table))
    meta["notes"] = _notes(parity, meta, precision)
    plain.unlink(missing_ok=True)
    _seal(folder, meta)
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


def _meta(model: TorchModel, path: Path, run: Run, preprocess: str, precision: str) -> dict[str, Any]:
    backbone = model.module.backbone
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        **{key: model.meta.get(key) for key in _KEPT},
        "metrics": model.meta.get("metrics") or run.manifest.get("metrics") or {},
        "preprocess": preprocess,
        "precision": precision,
        "opset": onnx.load(str(path), load_external_data=False).opset_import[0].version,
        "versions": versions("onnx", "onnxruntime", "timm"),
        "trained_sha256": model.meta.get("sha256", {}),
        **({"frame_seconds": backbone.frame_seconds} if isinstance(backbone, Frames) else {}),
    }


def _add_assets(folder: Path, model: TorchModel, meta: dict[str, Any]) -> None:
    """Of the pipeline's files those that its description names: the others are for building the network again."""
    name = meta["preprocessing"].get("tokenizer")
    if name is None or not isinstance(model.pipeline, Portable):
        return
    with tempfile.TemporaryDirectory(dir=folder) as assets:
        model.pipeline.save_assets(Path(assets))
        os.replace(Path(assets) / name, folder / name)


def _describe_input(meta: dict[str, Any], path: Path) -> None:
    graph = onnx.load(str(path), load_external_data=False).graph
    meta["onnx_inputs"] = [_described(value) for value in graph.input]
    meta["onnx_outputs"] = [_described(value) for value in graph.output]


def _described(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return {"name": value.name, "type": dtype, "shape": [one.dim_param or one.dim_value for one in tensor.shape.dim]}


def _seal(folder: Path, meta: dict[str, Any]) -> None:
    """Write model.json with the hash of every other file that predicting reads."""
    read = [*folder.glob(f"{MODEL_FILE}*"), *folder.glob(str(meta["preprocessing"].get("tokenizer", MODEL_FILE)))]
    meta["sha256"] = {path.name: sha256_of(path) for path in sorted(set(read))}
    (folder / META_FILE).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = latencies(calls, seconds=LATENCY_SECONDS)
    finally:
        torch.set_num_threads(threads)
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
    loss = parity.score_torch - parity.score_onnx
    if parity.score_name in LOWER_IS_BETTER:
        loss = -loss
    if precision != "fp32" and loss > 0:
        notes.append(
            f"{precision} loses: {parity.score_name} {parity.score_torch:.4f} became {parity.score_onnx:.4f} on "
            f"{parity.samples} samples."
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
            f"The export differs from the trained model: {'; '.join(faults)} "
            f"({parity.score_name} {parity.score_torch:.4f} in torch, {parity.score_onnx:.4f} exported). "
            "Nothing was written.",
            "Accept it with --min-agreement or --tolerance"
            + (", or export with --precision fp32." if precision != "fp32" else ", or report the model as a bug."),
        )


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
