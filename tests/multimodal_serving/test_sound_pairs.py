"""Pairs of sounds and texts: long recordings in windows, labels for sounds, the same with onnxruntime."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_toys import OPTIONS
from text_toys import write_tokenizer
from tower_toys import WORDS

import zoo
from zoo.exporting import export
from zoo.serve_audio import Parts, hear_vectors
from zoo.trained import input_dict, save_trained
from zoo.weights import load_backbone
from zoo_audio.scratch_list import SCRATCH_MODELS
from zoo_registry.hooks import hookimpl
from zoo_registry.registry import build_registry
from zoo_registry.specs import ModelSpec

RATE = 16_000


class Small:
    """A plugin with a conformer of one narrow layer: tracing takes as long as there are layers."""

    @hookimpl
    def zoo_models(self) -> list[ModelSpec]:
        (spec,) = (spec for spec in SCRATCH_MODELS if spec.name == "conformer")
        options = {**spec.options, **OPTIONS["conformer"], "layers": 1}
        return [dataclasses.replace(spec, name="narrow", options=options)]


def test_a_long_recording_is_the_mean_of_its_windows() -> None:
    def forward(arrays: Any) -> np.ndarray:
        return np.array([[array[0], 1.0] / np.hypot(array[0], 1.0) for array in arrays], np.float32)

    short, long = np.full(4, 3, np.int16), np.repeat(np.array([1, 5], np.int16), 4)
    found = hear_vectors(Parts(window=4, most=100), [short, long], forward)
    assert np.allclose(found[0], forward([short])[0])
    mean = forward([long[:4], long[4:]]).mean(axis=0)
    assert np.allclose(found[1], mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.slow
def test_labels_for_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = build_registry([("small", Small())])
    monkeypatch.setattr(zoo, "default_registry", lambda: registry)
    torch.manual_seed(0)
    name, model = "dual/narrow+bert_tiny", tmp_path / "run" / "model"
    write_tokenizer(model, WORDS)
    sound, text = registry.model(name).spec.input.parts
    parts = (dataclasses.replace(sound, seconds=0.5), dataclasses.replace(text, size=(16,)))
    input = dataclasses.replace(registry.model(name).spec.input, parts=parts)
    given = dataclasses.replace(input, assets=str(model))
    loaded = load_backbone(name, weights="none", registry=registry, input=given)
    meta = {"model_id": loaded.model_id, "objective": "none", "input": input_dict(input)}
    save_trained(model, {"backbone": loaded.backbone.module}, meta)

    draw = np.random.default_rng(0)
    sounds = [
        {"array": draw.normal(0, 0.1, int(RATE * seconds)).astype(np.float32), "sampling_rate": RATE}
        for seconds in (0.3, 0.5, 1.7)
    ]
    labels = ["a dot", "bar code", "sea grass"]
    pair = export(model.parent, tmp_path / "pair")
    one = export(model.parent, tmp_path / "one", labels=labels)
    assert pair.parity.agreement == one.parity.agreement == 1.0
    ours, theirs = (zoo.predict(target, sounds, labels=labels) for target in (model.parent, pair.path))
    for left, right in zip(ours, theirs, strict=True):
        assert left["scores"] == pytest.approx(right["scores"], abs=1e-4)
    # What is heard at once is the same; of windows this one averages logits, whose mean is no cosine.
    for left, right in zip(ours[:2], zoo.predict(one.path, sounds[:2]), strict=True):
        assert left["scores"] == pytest.approx(right["scores"], abs=1e-4)
