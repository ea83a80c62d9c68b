"""A trained task as an ONNX graph: ``(logits, scores) = f(inputs)`` with a dynamic batch; texts and sounds of any
length."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from zoo.protocols import DynamicAxes, Frames
from zoo.serve_audio import BY_FRAME
from zoo.tasks import SupervisedTask
from zoo_registry.errors import ZooError

OPSET = 20
PRODUCTS = ("Gemm", "MatMul", "Conv")
LARGE = 1_800_000_000
"""Bytes of weights above which they go beside the graph: a protobuf message ends at 2 GiB."""


class _Decoded(nn.Module):
    """Logits and what the head makes of them: decoding in the graph is decoding that serving cannot get wrong."""

    def __init__(self, task: SupervisedTask) -> None:
        super().__init__()
        self.logits = task.export_module()
        self.head = task.head

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.logits(*inputs)
        decoded = self.head.decode(logits, None)
        return logits, decoded["value"] if self.head.task == "regression" else decoded["scores"]


class _ByFrame(nn.Module):
    """What :class:`_Decoded` gives, and how many frames of it are real: sounds of a batch differ in length."""

    def __init__(self, task: SupervisedTask) -> None:
        super().__init__()
        self.decoded = _Decoded(task)
        self.backbone = task.backbone
        self.length = list(task.example_inputs(1)).index("length")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return *self.decoded(*inputs), self.backbone.frames(inputs[self.length])  # type: ignore[attr-defined]


class _NextToken(nn.Module):
    """Of a language model only what decoding goes on with: the logits behind each text's last real token."""

    def __init__(self, task: SupervisedTask) -> None:
        super().__init__()
        self.logits = task.export_module()
        self.mask = list(task.example_inputs(1)).index("attention_mask")

    def forward(self, *inputs: Tensor) -> Tensor:
        logits = self.logits(*inputs)
        last = inputs[self.mask].sum(dim=1) - 1
        return logits.gather(1, last[:, None, None].expand(-1, 1, logits.shape[2])).squeeze(1)


def weight_bytes(task: nn.Module) -> int:
    """Size of the weights in float32."""
    return 4 * sum(tensor.numel() for tensor in [*task.parameters(), *task.buffers()])


def trace(task: SupervisedTask, path: Path, name: str) -> None:
    """Write ``path`` (and ``path`` + ``.data`` for very large models): inputs under the task's own names, outputs
    ``logits`` (batch, C) and ``scores`` (batch, C) or (batch,), both with one row a token or frame where the head
    answers so; of sounds then also ``frames`` (batch,) int64, how many are real. For generation ``logits`` (batch, V)
    of the next token alone.

    Raises:
        ZooError: torch cannot trace the network.
    """
    module, outputs = _traceable(task)
    axes = task.backbone.dynamic_axes if isinstance(task.backbone, DynamicAxes) else {}
    write_graph(module, task.example_inputs(2), outputs, axes, path, name)


def write_graph(
    module: nn.Module,
    example: Mapping[str, Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Sequence[str]],
    path: Path,
    name: str,
) -> None:
    """Write ``path`` (and ``path`` + ``.data`` for very large models).

    Args:
        module: takes the values of ``example`` by position; in evaluation mode.
        outputs: their names.
        axes: free dimensions of each input; of one without an entry the batch alone.
        name: of the model, for errors.

    Raises:
        ZooError: torch cannot trace the network.
    """
    with _quietly():
        try:
            program = torch.onnx.export(
                module,
                tuple(tensor.clone() for tensor in example.values()),  # one tensor given twice would be one input
                dynamo=True,
                input_names=list(example),
                output_names=list(outputs),
                dynamic_shapes=(_dynamic(axes, tuple(example)),),
                opset_version=OPSET,
                verbose=False,
            )
        except Exception as error:  # the exporter wraps whatever the network raises while it is traced
            reason = str(error.__cause__ or error).strip().splitlines()[0][:300]
            raise ZooError(
                f"{name} cannot be exported to ONNX: {reason}", "Run with ZOO_DEBUG=1 to see where tracing stops."
            ) from error
        if program is None:
            raise ZooError(f"{name} cannot be exported to ONNX.", "Run with ZOO_DEBUG=1 for details.")
        program.save(str(path), external_data=weight_bytes(module) > LARGE)
    model = onnx.load(str(path), load_external_data=False)
    strip(model)
    path.write_bytes(model.SerializeToString())


def _traceable(task: SupervisedTask) -> tuple[nn.Module, list[str]]:
    """(what is traced, the names of its outputs)."""
    if task.head.task == "generation":
        return _NextToken(task).eval(), ["logits"]
    if task.head.task in BY_FRAME and isinstance(task.backbone, Frames):
        return _ByFrame(task).eval(), ["logits", "scores", "frames"]
    return _Decoded(task).eval(), ["logits", "scores"]


def _dynamic(axes: Mapping[str, Sequence[str]], names: Sequence[str]) -> tuple[dict[int, Any], ...]:
    """The free dimensions of each input; those of one name are one."""
    dims: dict[str, Any] = {}
    return tuple(
        {i: dims.setdefault(axis, torch.export.Dim(axis)) for i, axis in enumerate(axes.get(name, ("batch",)))}
        for name in names
    )


def strip(model: ModelProto) -> None:
    """Drop what the exporter notes per node: stack traces with the paths of this machine, half of a small file."""
    for graph in [model.graph, *model.functions]:
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]:
        del value.metadata_props[:]
        value.doc_string = ""
    del model.graph.metadata_props[:]


def tail(model: ModelProto) -> list[str]:
    """Names of the nodes behind the last matrix product: they make user units and probabilities of its output, which
    deserve float32 whatever the precision of the network."""
    made = {output: node for node in model.graph.node for output in node.output}
    waiting, names = [one.name for one in model.graph.output], set()
    while waiting:
        node = made.get(waiting.pop())
        if node is not None and node.op_type not in PRODUCTS and node.name not in names:
            names.add(node.name)
            waiting += node.input
    return [node.name for node in model.graph.node if node.name in names]


def front(model: ModelProto) -> list[str]:
    """Names of the nodes that make normalised spectra of a waveform: all up to the first logarithms, and from there to
    the next product. Powers span more orders of magnitude than float16 or int8 hold."""
    made = {output: node for node in model.graph.node for output in node.output}
    behind, names = set(tail(model)), set()
    logs = [node for node in model.graph.node if node.op_type == "Log" and node.name not in behind]
    known = {output for node in logs for output in node.output}
    waiting = list(logs)
    for node in model.graph.node:  # in the order of computation
        if node.op_type not in PRODUCTS and known.intersection(node.input):
            known.update(node.output)
            waiting.append(node)
    while waiting:
        node = waiting.pop()
        if node.name not in names:
            names.add(node.name)
            waiting += [made[name] for name in node.input if name in made]
    return [node.name for node in model.graph.node if node.name in names]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Exporter chatter off stdout, which holds data alone, and off the log."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
