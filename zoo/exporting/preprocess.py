"""The image preprocessing of :mod:`zoo.images` as an ONNX graph: raw uint8 pixels in, network input out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from zoo.images import check_spec, resize_target
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec

RAW_INPUT = "pixels"
_MODES = {"bicubic": "cubic", "bilinear": "linear"}


def check_supported(spec: InputSpec) -> None:
    """Which input contracts have a graph: RGB, square, ``center`` or ``squash``, bicubic or bilinear, crop inside.

    Raises:
        UsageError: naming what does not fit.
    """
    if spec.modality == "audio":
        raise UsageError(
            "The graph of a sound model starts at the waveform already: spectra and normalisation are inside.",
            "Leave --preprocess out.",
        )
    problem = ""
    if spec.modality == "text":
        problem = "ONNX has no tokenizers, so texts become token ids on the host (tokenizer.json lies beside the graph)"
    elif spec.modality != "image":
        problem = f"it takes {spec.modality} input"
    elif spec.size[0] != 3 or spec.size[1] != spec.size[2]:
        problem = f"size {spec.size} is not square RGB"
    elif spec.crop_mode == "border" or spec.crop_pct > 1:
        problem = "the image is padded before cropping"
    elif spec.interpolation not in _MODES:
        problem = f"{spec.interpolation} interpolation has no ONNX operator that matches PIL's"
    if problem:
        raise UsageError(
            f"This model's preprocessing cannot go into the graph: {problem}.", "Export with --preprocess host."
        )


def preprocess_graph(spec: InputSpec, *, opset: int, ir_version: int) -> onnx.ModelProto:
    """``pixels`` uint8 (batch, height, width, 3), one size per batch, to ``prepared`` float32 (batch, 3, S, S).

    Resize with antialias on uint8 is the operator closest to PIL's ``resize``: onnxruntime computes it in fixed point
    with rounding between the two passes, as PIL does (on photos at most a few levels off, in well under 1 % of the
    pixels; resizing in float and rounding once is further off, in about 20 %). All sizes are whole numbers computed
    as :func:`zoo.images.resized_size` and :func:`zoo.images.crop_offset` compute them.

    Raises:
        UsageError: the contract has no graph (see :func:`check_supported`).
    """
    check_supported(spec)
    check_spec(spec)
    side, target = spec.size[1], resize_target(spec)[0]
    constants: dict[str, np.ndarray] = {
        "side": np.array([side], np.int64),
        "target": np.array([target], np.int64),
        "channels": np.array([3], np.int64),
        "two": np.array([2.0], np.float32),
        "axes": np.array([2, 3], np.int64),
        "full": np.array(255, np.float32),
        "mean": np.array(spec.mean, np.float32).reshape(1, 3, 1, 1),
        "std": np.array(spec.std, np.float32).reshape(1, 3, 1, 1),
    }
    node = helper.make_node
    nodes = [
        node("Transpose", [RAW_INPUT], ["planes"], perm=[0, 3, 1, 2]),
        node("Shape", ["planes"], ["batch"], start=0, end=1),
        node("Shape", ["planes"], ["height"], start=2, end=3),
        node("Shape", ["planes"], ["width"], start=3, end=4),
    ]
    if spec.crop_mode == "squash":
        constants["new_height"] = constants["new_width"] = constants["target"]
    else:
        # target * length / short, truncated: exactly `target` for the short side, torchvision's int() for the other.
        nodes.append(node("Min", ["height", "width"], ["short"]))
        for name in ("height", "width"):
            nodes.append(node("Mul", [name, "target"], [f"{name}_scaled"]))
            nodes.append(node("Div", [f"{name}_scaled", "short"], [f"new_{name}"]))
    nodes.append(node("Concat", ["batch", "channels", "new_height", "new_width"], ["sizes"], axis=0))
    cubic: dict[str, Any] = (
        {"cubic_coeff_a": -0.5} if spec.interpolation == "bicubic" else {}
    )  # PIL's kernel; ONNX's default is -0.75
    nodes.append(
        node(
            "Resize",
            ["planes", "", "", "sizes"],
            ["resized"],
            mode=_MODES[spec.interpolation],
            antialias=1,
            coordinate_transformation_mode="half_pixel",
            **cubic,
        )
    )
    for name in ("height", "width"):
        # ONNX Round is half to even, as Python's round in the pipeline's crop.
        nodes += [
            node("Sub", [f"new_{name}", "side"], [f"{name}_spare"]),
            node("Cast", [f"{name}_spare"], [f"{name}_spare_f"], to=TensorProto.FLOAT),
            node("Div", [f"{name}_spare_f", "two"], [f"{name}_half"]),
            node("Round", [f"{name}_half"], [f"{name}_rounded"]),
            node("Cast", [f"{name}_rounded"], [f"{name}_start"], to=TensorProto.INT64),
            node("Add", [f"{name}_start", "side"], [f"{name}_stop"]),
        ]
    nodes += [
        node("Concat", ["height_start", "width_start"], ["starts"], axis=0),
        node("Concat", ["height_stop", "width_stop"], ["stops"], axis=0),
        node("Slice", ["resized", "starts", "stops", "axes"], ["window"]),
        node("Cast", ["window"], ["levels"], to=TensorProto.FLOAT),
        node("Div", ["levels", "full"], ["unit"]),
        node("Sub", ["unit", "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["prepared"]),
    ]
    used = {name for one in nodes for name in one.input}
    graph = helper.make_graph(
        nodes,
        "preprocess",
        [helper.make_tensor_value_info(RAW_INPUT, TensorProto.UINT8, ["batch", "height", "width", 3])],
        [helper.make_tensor_value_info("prepared", TensorProto.FLOAT, ["batch", 3, side, side])],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.checker.check_model(model)
    return model


def prepend_preprocessing(core: onnx.ModelProto, spec: InputSpec) -> onnx.ModelProto:
    """``core`` with its single image input replaced by raw pixels."""
    opset = next(one.version for one in core.opset_import if one.domain in ("", "ai.onnx"))
    front = preprocess_graph(spec, opset=opset, ir_version=core.ir_version)
    # merge_models insists on equal opset imports, and quantisers add the imports of domains that they may use.
    del front.opset_import[:]
    front.opset_import.extend(core.opset_import)
    return compose.merge_models(
        compose.add_prefix(front, "preprocess_", rename_inputs=False, rename_edges=True),
        core,
        io_map=[("preprocess_prepared", core.graph.input[0].name)],
    )
