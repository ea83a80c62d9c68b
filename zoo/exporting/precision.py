"""Smaller numbers: float16 weights, or int8 with scales that are measured on training samples or as texts come."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from zoo.exporting.trace import PRODUCTS, front, tail


def to_fp16(source: Path, target: Path) -> None:
    """Weights and arithmetic in float16; input, logits and scores stay float32. So do spectra of sound, what comes
    first behind them, and sums."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(source))
    with _quietly():
        half = convert_float_to_float16(
            model, keep_io_types=True, node_block_list=[*_kept(model), *_stem(model), *_sums(model)]
        )
    _unrounded(half)
    del half.graph.value_info[:]  # of which the converter leaves some as they were
    OnnxModel.graph_topological_sort(half.graph)  # the converter puts its casts last
    onnx.save_model(half, str(target))


def to_int8(source: Path, target: Path, batches: Sequence[dict[str, np.ndarray]]) -> None:
    """Static int8 with quantise/dequantise nodes: weights per channel and symmetric, activations per tensor.

    Ranges are the least and greatest value over ``batches`` of inputs as the network takes them. Weights use 7 of the 8
    bits: processors without VNNI add pairs of products in 16 bits and would silently saturate, and an export travels to
    machines that are not known here. The head stays float32: its product is a small part of the work, and nothing
    behind it evens out what rounding does to the answer. So do spectra of sound, and what comes first behind them.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._batches, None)

    prepared = target.with_suffix(".prepared.onnx")
    try:
        with _quietly():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            model = onnx.load(str(prepared))
            quantize_static(
                str(prepared),
                str(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[*_kept(model), *_stem(model), *_heads(model)],
            )
    finally:
        prepared.unlink(missing_ok=True)


def mostly_convolutions(path: Path) -> bool:
    """Whether more of a graph's weights are convolutions' than matrix products', spectra left out."""
    model = onnx.load(str(path), load_external_data=False)
    sizes = {one.name: int(np.prod(one.dims)) for one in model.graph.initializer}
    spectra, held = set(front(model)), {"Conv": 0, "MatMul": 0, "Gemm": 0}
    for node in model.graph.node:
        if node.op_type in held and node.name not in spectra:
            held[node.op_type] += sum(sizes.get(name, 0) for name in node.input)
    return held["Conv"] > held["MatMul"] + held["Gemm"]


def to_int8_dynamic(source: Path, target: Path) -> None:
    """Dynamic int8 for Transformers: weights per channel (7 of 8 bits, as in :func:`to_int8`), activations by the range
    that each input turns out to have. Nothing is calibrated: a few features of theirs are far larger than the others,
    in different places for different texts (Dettmers et al. 2022, arXiv:2208.07339). Convolutions stay float32: their
    dynamic int8 is slower in onnxruntime, and those of sound take in the bare waveform.

    The range is that of a whole batch, so an answer depends on what an input is batched with.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_suffix(".prepared.onnx")
    try:
        with _quietly():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            model = onnx.load(str(prepared))
            quantize_dynamic(
                str(prepared),
                str(target),
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[*_kept(model), *(node.name for node in model.graph.node if node.op_type == "Conv")],
            )
    finally:
        prepared.unlink(missing_ok=True)


def _unrounded(half: onnx.ModelProto) -> None:
    """Hand values from one float32 node to the next as they are: the converter rounds them to float16 in between."""
    rounds = [node for node in half.graph.node if node.name.endswith("_cast_to_fp16_node")]
    rounds += [node for node in half.graph.node if node.name.startswith("graph_input_cast")]
    exact = {node.output[0]: node.input[0] for node in rounds}
    again = {
        node.output[0]: exact[node.input[0]]
        for node in half.graph.node
        if node.name.endswith("_cast_to_fp32_node") and node.input[0] in exact
    }
    for node in half.graph.node:
        node.input[:] = [again.get(name, name) for name in node.input]
    used = {name for node in half.graph.node for name in node.input} | {one.name for one in half.graph.output}
    for node in [node for node in half.graph.node if node.op_type == "Cast" and not used.intersection(node.output)]:
        half.graph.node.remove(node)


def _sums(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that add up over time, that use the sums, and that count what was added: a minute of sound has
    more samples than the largest float16, and sums of squares are larger still."""
    made = {output: node for node in model.graph.node for output in node.output}
    sums = {output for node in model.graph.node if node.op_type == "ReduceSum" for output in node.output}
    users = [node for node in model.graph.node if sums.intersection(node.input)]
    counts = [made[name] for node in users for name in node.input if name in made]
    return [node.name for node in [*users, *counts]]


def _stem(model: onnx.ModelProto) -> list[str]:
    """Names of the first eighth of the convolutions that look at spectra; none in other graphs.

    Networks for pictures see the one channel of a spectrum three times. Their filters for differences of colour then
    cancel, BatchNorm has blown up what is left, and rounded weights do not cancel: on spoken digits 76 % of the answers
    of an int8 efficientnet_lite0 were those of float32, 92 % with these in float32, at 1.7 times its speed.
    """
    spectra = front(model)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv" and node.name not in spectra]
    return convolutions[: len(convolutions) // 8] if spectra else []


def _heads(model: onnx.ModelProto) -> list[str]:
    """Names of the products that nothing but the tail comes after."""
    behind = set(tail(model))
    ends = {name for node in model.graph.node if node.name in behind for name in node.input}
    ends |= {one.name for one in model.graph.output}
    return [node.name for node in model.graph.node if node.op_type in PRODUCTS and ends.intersection(node.output)]


def _kept(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that keep float32."""
    return [*front(model), *tail(model)]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    # The quantiser logs advice on the root logger and prints its progress.
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(previous)
