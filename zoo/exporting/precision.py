"""Smaller numbers: float16 weights, or int8 with scales that are measured on training samples or as texts come."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from zoo.exporting.trace import tail


def to_fp16(source: Path, target: Path) -> None:
    """Weights and arithmetic in float16; input, logits and scores stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(source))
    with _quietly():
        half = convert_float_to_float16(model, keep_io_types=True, node_block_list=tail(model))
    OnnxModel.graph_topological_sort(half.graph)  # the converter puts its casts last
    onnx.save_model(half, str(target))


def to_int8(source: Path, target: Path, samples: np.ndarray) -> None:
    """Static int8 with quantise/dequantise nodes: weights per channel and symmetric, activations per tensor.

    Ranges are the least and greatest value over ``samples`` (n, C, H, W), inputs as the network takes them. Weights use
    7 of the 8 bits: processors without VNNI add pairs of products in 16 bits and would silently saturate, and an
    export travels to machines that are not known here.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnx.load(str(source), load_external_data=False).graph.input[0].name

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[np.ndarray] = (samples[i : i + 8] for i in range(0, len(samples), 8))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch}

    prepared = target.with_suffix(".prepared.onnx")
    try:
        with _quietly():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=tail(onnx.load(str(prepared))),
            )
    finally:
        prepared.unlink(missing_ok=True)


def to_int8_dynamic(source: Path, target: Path) -> None:
    """Dynamic int8 for Transformers: weights per channel (7 of 8 bits, as in :func:`to_int8`), activations by the range
    that each input turns out to have. Nothing is calibrated: a few features of theirs are far larger than the others,
    in different places for different texts (Dettmers et al. 2022, arXiv:2208.07339).

    The range is that of a whole batch, so a text's answer depends on what it is batched with.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_suffix(".prepared.onnx")
    try:
        with _quietly():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_dynamic(
                str(prepared),
                str(target),
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=tail(onnx.load(str(prepared))),
            )
    finally:
        prepared.unlink(missing_ok=True)


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
