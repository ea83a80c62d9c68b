"""What lies in an export's folder besides its graphs, and what ``model.json`` says of them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from zoo.protocols import Pipeline, Portable
from zoo.serve_model import META_FILE, sha256_of


def described(path: Path) -> dict[str, list[dict[str, Any]]]:
    """A graph's ``{"inputs": [...], "outputs": [...]}``, each ``{"name", "type", "shape"}``."""
    graph = onnx.load(str(path), load_external_data=False).graph
    return {"inputs": [_described(one) for one in graph.input], "outputs": [_described(one) for one in graph.output]}


def opset_of(path: Path) -> int:
    """Version of the operators that a graph is written in."""
    version: int = onnx.load(str(path), load_external_data=False).opset_import[0].version
    return version


def add_tokenizer(folder: Path, describe: Mapping[str, Any], pipeline: Pipeline) -> None:
    """Of a pipeline's files the one that its description names: the others are for building the network again."""
    name = describe.get("tokenizer")
    if name is None or not isinstance(pipeline, Portable):
        return
    with tempfile.TemporaryDirectory(dir=folder) as assets:
        pipeline.save_assets(Path(assets))
        os.replace(Path(assets) / name, folder / name)


def seal(folder: Path, meta: dict[str, Any], patterns: Iterable[str]) -> None:
    """Write model.json with the hash of every file that predicting reads."""
    read = {path for pattern in patterns for path in folder.glob(pattern)}
    meta["sha256"] = {path.name: sha256_of(path) for path in sorted(read)}
    (folder / META_FILE).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def _described(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return {"name": value.name, "type": dtype, "shape": [one.dim_param or one.dim_value for one in tensor.shape.dim]}
