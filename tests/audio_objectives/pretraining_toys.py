"""Tiny networks of sound that objectives can train, as a plugin of somebody else; sounds for them, and ``zoo`` with
them: ``python -m pretraining_toys pretrain toys/masker ...``."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from zoo.data.draws import HashDraws
from zoo.protocols import Batch, Features, LayerGroups
from zoo_audio.frontend import LogMel
from zoo_audio.masked import real_frames
from zoo_audio.mulaw import CODES
from zoo_audio.pipeline import AudioPipeline, audio_pipeline
from zoo_registry.hooks import hookimpl
from zoo_registry.registry import Registry, build_registry
from zoo_registry.specs import InputSpec, ModelSpec

RATE, SECONDS, HOP = 8000, 0.5, 160
INPUT = InputSpec(modality="audio", rate=RATE, seconds=SECONDS)


class Toy(nn.Module):
    """What both networks are asked for besides their forward."""

    def __init__(self, spec: ModelSpec, input: InputSpec, dim: int, module: nn.Module) -> None:
        super().__init__()
        self.spec, self.input, self.dim, self.module = spec, input, dim, module

    def layer_groups(self) -> LayerGroups:
        return [("all", [(f"module.{name}", parameter) for name, parameter in self.module.named_parameters()])]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        return {"waveform": torch.zeros(batch_size, RATE // 2), "length": torch.full((batch_size,), RATE // 2)}


class Masker(Toy):
    """Log-mel frames of 20 ms and one Transformer layer: a Maskable with Frames."""

    frame_seconds = HOP / RATE

    def __init__(self, spec: ModelSpec, input: InputSpec, dim: int) -> None:
        layer = nn.TransformerEncoderLayer(dim, 2, 2 * dim, 0.0, batch_first=True, norm_first=True)
        place = nn.Conv1d(dim, dim, 9, padding=4, groups=4)
        super().__init__(spec, input, dim, nn.ModuleDict({"entry": nn.Linear(20, dim), "place": place, "layer": layer}))
        self.mel = LogMel(RATE, mels=20, hop=HOP)

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        return self.contextualise(*self.embed(batch))

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        mel, count = self.mel(batch["waveform"], batch["length"])
        return self.module["entry"](mel), real_frames(count, mel.shape[1])  # type: ignore[index]

    def contextualise(self, features: Tensor, mask: Tensor, layers: bool = False) -> Features:
        part: Any = self.module
        hidden = features * mask[..., None]
        hidden = hidden + part["place"](hidden.transpose(1, 2)).transpose(1, 2)
        tokens = part["layer"](hidden, src_key_padding_mask=~mask)
        real = mask[..., None].to(tokens)
        return Features(pooled=(tokens * real).sum(1) / real.sum(1), tokens=tokens, mask=mask)

    def frames(self, length: Tensor) -> Tensor:
        return length // HOP + 1


class Guesser(Toy):
    """Convolutions over the last eight codes: Autoregressive."""

    def __init__(self, spec: ModelSpec, input: InputSpec, dim: int) -> None:
        parts = {"entry": nn.Embedding(CODES, dim), "past": nn.Conv1d(dim, dim, 8)}
        super().__init__(spec, input, dim, nn.ModuleDict({**parts, "exit": nn.Linear(dim, CODES)}))

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        return Features(pooled=batch["waveform"].new_zeros(len(batch["waveform"]), self.dim))

    def forward_codes(self, codes: Tensor) -> Tensor:
        part: Any = self.module
        past = part["past"](F.pad(part["entry"](codes).transpose(1, 2), (7, 0)))
        return part["exit"](torch.relu(past).transpose(1, 2))


def build_masker(spec: ModelSpec, input: InputSpec, weights: Any, state: Any, dim: int = 16) -> Masker:
    return _loaded(Masker(spec, input, dim), state)


def build_guesser(spec: ModelSpec, input: InputSpec, weights: Any, state: Any, dim: int = 16) -> Guesser:
    return _loaded(Guesser(spec, input, dim), state)


def _loaded(backbone: Any, state: Any) -> Any:
    if state is not None:
        backbone.module.load_state_dict(state)
    return backbone


def toy(name: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        builder=f"pretraining_toys:build_{name}",
        pipeline="zoo_audio.pipeline:audio_pipeline",
        input=INPUT,
        dim=16,
        layouts=("pooled", "tokens"),
    )


def toy_registry() -> Registry:
    """Everything that is installed, and the tiny networks as ``toys/masker`` and ``toys/guesser``."""
    plugin = types.ModuleType("pretraining_toys_plugin")
    models = [toy("masker"), toy("guesser")]
    vars(plugin).update(zoo_models=hookimpl(lambda: models))
    return build_registry([("toys", plugin)])


def masker(seed: int = 0) -> Masker:
    torch.manual_seed(seed)
    return build_masker(toy("masker"), INPUT, None, None)


def guesser(seed: int = 0) -> Guesser:
    torch.manual_seed(seed)
    return build_guesser(toy("guesser"), INPUT, None, None)


def config(**options: Any) -> Any:
    return SimpleNamespace(seed=7, options=options)


def pipeline() -> AudioPipeline:
    return audio_pipeline(INPUT)


def melody(number: int, seconds: float) -> np.ndarray:
    """(n,) float at RATE: notes of 120 ms that follow one another by a rule, in a little noise."""
    draw = np.random.default_rng(number)
    pitch, note = draw.integers(5), round(0.12 * RATE)
    tones = []
    for _ in range(1 + round(seconds * RATE) // note):
        time = np.arange(note) / RATE
        tones.append(0.4 * np.sin(2 * np.pi * 300 * 1.4**pitch * time) * np.hanning(note))
        pitch = (pitch + 1 + (draw.random() < 0.2)) % 5
    sound = np.concatenate(tones)[: round(seconds * RATE)]
    return sound + draw.normal(0, 0.003, len(sound))


def batch_of(lengths: Sequence[float], first: int = 0) -> Batch:
    """Decoded melodies of so many seconds each, as a store gives them: int16, padded."""
    sounds = [torch.from_numpy((melody(first + i, n) * 32767).astype(np.int16)) for i, n in enumerate(lengths)]
    return {
        "waveform": torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True),
        "length": torch.tensor([len(sound) for sound in sounds]),
        "label": torch.zeros(len(sounds), dtype=torch.int64),
        "index": torch.arange(first, first + len(sounds)),
    }


def take(batch: Batch, rows: slice) -> Batch:
    """Rows of a batch, cut to the longest of them as a micro-batch of its own would be."""
    piece = {name: tensor[rows] for name, tensor in batch.items()}
    return {**piece, "waveform": piece["waveform"][:, : int(piece["length"].max())]}


def draws(batch: Batch, epoch: int = 0) -> HashDraws:
    return HashDraws(7, epoch, batch["index"])


def write_melodies(folder: Path, train: int = 40, val: int = 8) -> Path:
    """``train`` and ``val`` with the files in class folders of no meaning; some longer than what is heard at once."""
    for split, count, start in (("train", train, 0), ("val", val, 1000)):
        for i in range(count):
            place = folder / split / ("a", "b")[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            soundfile.write(place / f"{i}.wav", melody(start + i, (0.25, 0.4, 0.5, 0.9)[i % 4]), RATE)
    return folder


if __name__ == "__main__":
    from zoo.cli.main import run

    found = toy_registry()
    zoo.default_registry = lambda: found  # type: ignore[assignment]
    sys.exit(run(sys.argv[1:]))
