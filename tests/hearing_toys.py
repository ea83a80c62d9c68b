"""A tiny network of sound to train, as a plugin, and class folders of recordings of which some are long."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from zoo.protocols import Batch, Features, LayerGroups
from zoo_registry.hooks import hookimpl
from zoo_registry.registry import Registry, build_registry
from zoo_registry.specs import HeadSpec, InputSpec, ModelSpec

RATE, HOP = 2000, 20
PITCH = {"high": 600, "low": 150}


class Hearer(nn.Module):
    """Loudness of sixteen bands over frames of 10 ms, their mean over the real ones."""

    dim = 8
    frame_seconds = HOP / RATE

    def __init__(self, spec: ModelSpec, input: InputSpec) -> None:
        super().__init__()
        self.spec, self.input = spec, input
        self.module = nn.ModuleDict({"bands": nn.Conv1d(1, 16, 41, HOP, padding=20), "out": nn.Linear(16, 8)})

    def forward(self, batch: Batch, layouts: Any = ("pooled",)) -> Features:
        count = self.frames(batch["length"])
        loud = self.module["bands"](batch["waveform"][:, None]).square().transpose(1, 2)  # (B, N, 16)
        mask = torch.arange(loud.shape[1], device=loud.device) < count[:, None]
        tokens = self.module["out"]((loud + 1e-3).log()) * mask[..., None]
        return Features(pooled=tokens.sum(dim=1) / count[:, None], tokens=tokens, mask=mask)

    def frames(self, length: Tensor) -> Tensor:
        return (length - 1).div(HOP, rounding_mode="floor") + 1

    def layer_groups(self) -> LayerGroups:
        return [("all", [(f"module.{name}", one) for name, one in self.module.named_parameters()])]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        return {"waveform": torch.zeros(batch_size, RATE), "length": torch.full((batch_size,), RATE)}


def build_hearer(spec: ModelSpec, input: InputSpec, weights: Any, state: Any) -> Hearer:
    backbone = Hearer(spec, input)
    if state is not None:
        backbone.module.load_state_dict(state)
    return backbone


def fit_seconds(input: InputSpec, inputs: Iterable[Any]) -> InputSpec:
    """As long as the longest of the first two recordings."""
    items = [item for _, item in zip(range(2), inputs, strict=False)]
    return replace(input, seconds=max(soundfile.info(item).duration for item in items))


def hearing_registry() -> Registry:
    """``hearer`` of half a second, ``fitted`` whose length follows the data, and a head for whole recordings."""
    hearer = ModelSpec(
        name="hearer",
        builder="hearing_toys:build_hearer",
        pipeline="zoo_audio.pipeline:audio_pipeline",
        input=InputSpec(modality="audio", rate=RATE, seconds=0.5),
        dim=8,
    )
    fitted = replace(hearer, name="fitted", fit_input="hearing_toys:fit_seconds", fit_always=True, strategy="full")
    whole = HeadSpec(
        name="whole",
        builder="zoo.heads:ClassificationHead",
        task="classification",
        modalities=("audio",),
        view="zoo_audio.views:whole_clips",
    )
    plugin = types.ModuleType("hearing")
    vars(plugin).update(zoo_models=hookimpl(lambda: [hearer, fitted]), zoo_heads=hookimpl(lambda: [whole]))
    return build_registry([("toys", plugin)])


def write_recordings(folder: Path, *, train: int = 8, val: int = 5) -> Path:
    """Class folders of two pitches in noise, 0.2 s long, but for every fourth, which is of 1.3 s."""
    for split, count in (("train", train), ("val", val)):
        for label, pitch in PITCH.items():
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                rng = np.random.default_rng([number, pitch, len(split)])
                time = np.arange(round(RATE * (1.3 if number % 4 == 3 else 0.2))) / RATE
                sound = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.1 * rng.standard_normal(len(time))
                soundfile.write(folder / split / label / f"{label}{number}.wav", sound, RATE)
    return folder
