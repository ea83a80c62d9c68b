"""A collection through a model, chunk by chunk, into a Parquet file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

import zoo
from zoo.console import say
from zoo.embedding.inputs import Inputs, find_inputs
from zoo.embedding.model import Embedder, open_embedder
from zoo.embedding.parts import Parts
from zoo.protocols import RAGGED
from zoo.targets import check_readable, chunks
from zoo_registry.errors import DataError, Interrupted, UsageError
from zoo_registry.registry import Registry

SCHEMA_VERSION = 1
SHOWN = 20
SAY_EVERY = 5.0
Bad = list[tuple[int, str, str]]


def embed(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    normalise: bool = False,
    batch_size: int = 32,
    chunk: int = 2048,
    device: str | None = None,
    precision: str = "fp32",
    max_length: int | None = None,
    input_column: str | None = None,
    max_bad: float = 0.05,
    force: bool = False,
    tower: str | None = None,
    registry: Registry | None = None,
) -> dict[str, Any]:
    """Write one vector for each input of a collection into a Parquet file.

    Its columns are ``row`` (int64, number of the input in the collection), ``input`` (path or text), ``label`` and
    ``split`` where they are known, and ``embedding`` (a list of D float32); the metadata key ``zoo`` holds the model,
    weights, hashes, versions and preprocessing as JSON. Rows stand in the collection's order; inputs that cannot be
    read are left out. Every ``chunk`` inputs a part is written under ``<output>.parts``, with which the same call goes
    on after a stop.

    Args:
        model: a model name, or a run, checkpoint or model folder (:func:`zoo.embedding.model.open_embedder`).
        data: a folder, table, text file or data-set name (:func:`zoo.embedding.inputs.find_inputs`).
        output: the file, ending in ``.parquet``.
        normalise: scale vectors to length 1.
        batch_size: inputs at once; within a chunk texts of like lengths go together. Of sounds so many are read at
            once, and a minute goes through the network.
        chunk: inputs in a part.
        device, precision: as for training: ``fp32``, ``bf16`` or ``fp16``.
        max_length: longest text in tokens.
        input_column: of a table.
        max_bad: largest share of unreadable inputs that is left out.
        tower: of a model of pairs, the modality of the side that the data are for; None: the first.
        force: overwrite ``output``, and throw away parts of another model or other data.

    Returns:
        ``{"schema_version", "output", "model", "weights", "sha256", "data", "n", "dim", "skipped", "resumed"}``;
        ``resumed`` counts inputs whose part was there before.

    Raises:
        UsageError: the output exists, is no Parquet file, or has parts of another model or other data.
        DataError: no inputs, or too many that cannot be read.
        Interrupted: SIGINT came; finished parts stay.
        ZooError: as for loading the model; the disk refused.
    """
    registry = registry or zoo.default_registry()
    output = Path(output)
    _check_output(output, force)
    if batch_size < 1 or chunk < 1:
        raise UsageError(f"A batch of {batch_size} in chunks of {chunk} makes no sense.", "Give numbers of 1 or more.")
    embedder = open_embedder(
        str(model), registry=registry, max_length=max_length, device=device, precision=precision, tower=tower
    )
    modality = embedder.pipeline.modality
    inputs = find_inputs(str(data), registry=registry, modality=modality, column=input_column)
    described = embedder.describe()
    about = {"origin": inputs.origin, "fingerprint": inputs.fingerprint(modality), "inputs": len(inputs)}
    facts = {
        **described,
        "data": about["fingerprint"],
        "normalise": normalise,
        "batch size": batch_size,
        "chunk": chunk,
        "schema_version": SCHEMA_VERSION,
    }
    parts = Parts(output, facts, force=force)
    meta = {"schema_version": SCHEMA_VERSION, **described, "normalise": normalise, "data": about}
    schema = _schema(embedder.dim, inputs, meta)
    groups = list(chunks(range(len(inputs)), chunk))
    resumed, bad = _fill(parts, groups, embedder, inputs, schema, normalise, batch_size, max_bad)
    _say_bad(bad, len(inputs))
    check_readable(len(inputs) - len(bad), len(bad), max_bad)
    written = parts.merge(len(groups), schema)
    say(f"wrote {output}: {written:,} x {embedder.dim}")
    return {
        "schema_version": SCHEMA_VERSION,
        "output": str(output),
        "model": embedder.model_id,
        "weights": embedder.weights,
        "sha256": embedder.sha256,
        "data": inputs.origin,
        "n": written,
        "dim": embedder.dim,
        "skipped": len(bad),
        "resumed": resumed,
    }


def _check_output(output: Path, force: bool) -> None:
    if output.suffix != ".parquet":
        raise UsageError(f"Embeddings are written as Parquet, and {output} is none.", "End its name in .parquet.")
    if output.is_dir():
        raise UsageError(f"{output} is a folder.", "Choose another -o.")
    if output.exists() and not force:
        raise UsageError(f"{output} exists.", "Choose another -o, or --force to overwrite it.")


def _schema(dim: int, inputs: Inputs, meta: dict[str, Any]) -> pyarrow.Schema:
    fields = [pyarrow.field("row", pyarrow.int64()), pyarrow.field("input", pyarrow.string())]
    if inputs.labels:
        fields.append(pyarrow.field("label", pyarrow.array(inputs.labels).type))
    if inputs.splits:
        fields.append(pyarrow.field("split", pyarrow.string()))
    fields.append(pyarrow.field("embedding", pyarrow.list_(pyarrow.float32(), dim)))
    return pyarrow.schema(fields, {"zoo": json.dumps(meta, default=str)})


def _fill(
    parts: Parts,
    groups: Sequence[Sequence[int]],
    embedder: Embedder,
    inputs: Inputs,
    schema: pyarrow.Schema,
    normalise: bool,
    batch_size: int,
    max_bad: float,
) -> tuple[int, Bad]:
    """Make the parts that are not there; (inputs whose part was, what cannot be read)."""
    ready = {number for number in range(len(groups)) if parts.has(number)}
    resumed = sum(len(groups[number]) for number in ready)
    if resumed:
        say(f"goes on after {resumed:,} of {len(inputs):,} inputs in {parts.folder}")
    began = said = time.monotonic()
    done, bad = resumed, Bad()
    try:
        for number, places in enumerate(groups):
            if number not in ready:
                vectors, failed = _vectors(embedder, [inputs.items[place] for place in places], batch_size)
                good = [place for inside, place in enumerate(places) if inside not in failed]
                found = [(inputs.rows[places[i]], inputs.names[places[i]], why) for i, why in failed.items()]
                parts.write(number, _table(inputs, good, _scaled(vectors) if normalise else vectors, schema), found)
                done += len(places)
            bad += parts.bad(number)
            if len(bad) > max_bad * len(inputs):
                _say_bad(bad, len(inputs))
                check_readable(len(inputs) - len(bad), len(bad), max_bad)
            if time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                rate = (done - resumed) / (said - began)
                say(f"embedded {done:,} of {len(inputs):,}, {(len(inputs) - done) / max(rate, 1e-9):.0f} s left")
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped; the vectors of {done:,} of {len(inputs):,} inputs are kept in {parts.folder}.",
            "Go on with the same command.",
        ) from None
    return resumed, bad


def _vectors(embedder: Embedder, items: Sequence[Any], batch_size: int) -> tuple[np.ndarray, dict[int, str]]:
    """((good, D) float32 in order, {place: why} of the items that cannot be read)."""
    found: dict[int, np.ndarray] = {}
    failed: dict[int, str] = {}
    ragged = embedder.pipeline.shape[0] == RAGGED
    # Sounds are too large to hold a whole chunk of them.
    whole = ragged and embedder.pipeline.modality != "audio"
    for decoded in _decoded(embedder.pipeline, items, len(items) if whole else batch_size):
        failed.update({place: one.problem for place, one in decoded if isinstance(one, DataError)})
        good = [(place, one) for place, one in decoded if not isinstance(one, DataError)]
        if ragged:  # the longest first: memory runs out at once or never
            good.sort(key=lambda pair: -len(pair[1]))
        for batch in chunks(good, batch_size):
            found.update(zip((place for place, _ in batch), embedder.run([one for _, one in batch]), strict=True))
    empty = np.empty((0, embedder.dim), np.float32)
    return np.stack([found[place] for place in sorted(found)]) if found else empty, failed


def _decoded(pipeline: Any, items: Sequence[Any], size: int) -> Iterator[list[tuple[int, Any]]]:
    """(place, array or DataError) of the items, ``size`` at a time; while one such group is used the next decodes."""
    if hasattr(pipeline, "decode_batch"):
        readable = [(place, item) for place, item in enumerate(items) if not isinstance(item, DataError)]
        arrays = pipeline.decode_batch([item for _, item in readable])
        found = dict(zip((place for place, _ in readable), arrays, strict=True))
        yield [(place, found.get(place, item)) for place, item in enumerate(items)]
        return

    def one(item: Any) -> Any:
        if isinstance(item, DataError):
            return item
        try:
            return pipeline.decode(item)
        except DataError as error:
            return error

    waiting: list[tuple[int, Any]] = []
    with ThreadPoolExecutor() as pool:
        for group in chunks(enumerate(items), size):
            running = [(place, pool.submit(one, item)) for place, item in group]
            if waiting:
                yield [(place, future.result()) for place, future in waiting]
            waiting = running
        yield [(place, future.result()) for place, future in waiting]


def _table(inputs: Inputs, places: Sequence[int], vectors: np.ndarray, schema: pyarrow.Schema) -> pyarrow.Table:
    flat = pyarrow.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    made: dict[str, Any] = {
        "row": [inputs.rows[place] for place in places],
        "input": [inputs.names[place] for place in places],
        "label": [inputs.labels[place] for place in places] if inputs.labels else None,
        "split": [inputs.splits[place] for place in places] if inputs.splits else None,
        "embedding": pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    arrays = [
        made[field.name] if field.name == "embedding" else pyarrow.array(made[field.name], field.type)
        for field in schema
    ]
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def _scaled(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _say_bad(bad: Bad, total: int) -> None:
    if not bad:
        return
    say(f"left out {len(bad)} of {total} inputs that cannot be read:")
    for row, name, why in bad[:SHOWN]:
        say(f"  row {row}: {why if name in why else f'{name[:60]}: {why}'}")
    if len(bad) > SHOWN:
        say(f"  … and {len(bad) - SHOWN} more")
