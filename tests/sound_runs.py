"""Finished runs on sounds made without training: tones of three pitches, a tiny network as a plugin of somebody else,
and a head that is fitted in closed form."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from zoo.cli.main import main
from zoo.config import FinetuneConfig
from zoo.prepared import prepare, read_dataset
from zoo.protocols import Batch, Features, LayerGroups
from zoo.run import Run, start_run, versions
from zoo.tasks import SupervisedTask
from zoo.trained import build_head, input_dict, pipeline_for, save_trained
from zoo.weights import load_backbone
from zoo_registry.hooks import hookimpl
from zoo_registry.registry import Registry, build_registry
from zoo_registry.specs import InputSpec, ModelSpec

LABELS = ("high", "low", "middle")
PITCHES = {"low": 250.0, "middle": 500.0, "high": 1000.0}
FILE_RATE, RATE, SECONDS = 8000, 4000, 0.6
DIM, WINDOW, HOP = 24, 32, 16


class Listener(nn.Module):
    """Bands of a waveform, their loudness in decibels, then convolutions or matrices over frames."""

    def __init__(self, wide: bool) -> None:
        super().__init__()
        self.bands = nn.Conv1d(1, 16, 2 * WINDOW, stride=HOP, bias=False)
        inner: list[nn.Module] = [nn.Linear(16, 64), nn.GELU(), nn.Linear(64, DIM)]
        self.inner = nn.Sequential(*inner) if wide else nn.Conv1d(16, DIM, 5, padding=2)
        self.wide = wide
        with torch.no_grad():
            pitch = torch.linspace(120, 1900, 8)[:, None] * torch.arange(2 * WINDOW) * 2 * np.pi / RATE
            self.bands.weight.copy_((torch.cat([pitch.sin(), pitch.cos()]) * torch.hann_window(2 * WINDOW))[:, None])

    def forward(self, waveform: Tensor, mask: Tensor) -> Tensor:
        heard = self.bands(F.pad(waveform, (WINDOW, WINDOW))[:, None])  # (B, 16, N)
        loud = (heard.square() + 1e-4).log() * mask[:, None]
        frames = self.inner(loud.transpose(1, 2)) if self.wide else self.inner(loud).transpose(1, 2)
        return torch.tanh(frames)


class ListenerBackbone(nn.Module):
    """A :class:`zoo.protocols.Backbone` whose clips never hear each other's padding."""

    dim = DIM
    frame_seconds = HOP / RATE
    dynamic_axes: ClassVar = {"waveform": ("batch", "time"), "length": ("batch",)}

    def __init__(self, spec: ModelSpec, input: InputSpec, wide: bool) -> None:
        super().__init__()
        self.spec, self.input, self.module = spec, input, Listener(wide)

    def forward(self, batch: Batch, layouts: Any = ("pooled",)) -> Features:
        waveform, counts = batch["waveform"], self.frames(batch["length"])
        mask = torch.arange(waveform.shape[1] // HOP + 1, device=waveform.device)[None] < counts[:, None]
        real = mask[:, :, None].to(waveform.dtype)
        tokens = self.module(waveform, mask.to(waveform.dtype)) * real
        return Features(pooled=tokens.sum(dim=1) / real.sum(dim=1), tokens=tokens, mask=mask)

    def frames(self, length: Tensor) -> Tensor:
        return length // HOP + 1

    def layer_groups(self) -> LayerGroups:
        return [("all", [(f"module.{name}", one) for name, one in self.module.named_parameters()])]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        return {
            "waveform": torch.zeros(batch_size, RATE // 2),
            "length": torch.full((batch_size,), RATE // 2),
        }


def build_listener(spec: ModelSpec, input: InputSpec, weights: Any, state: Any, wide: bool = False) -> ListenerBackbone:
    torch.manual_seed(0)
    return ListenerBackbone(spec, input, wide)


def listener(name: str, **options: Any) -> ModelSpec:
    return ModelSpec(
        name=name,
        builder="sound_runs:build_listener",
        pipeline="zoo_audio.pipeline:audio_pipeline",
        input=InputSpec(modality="audio", rate=RATE, seconds=SECONDS),
        dim=DIM,
        layouts=("pooled", "tokens"),
        options=options,
    )


def sound_registry() -> Registry:
    """Everything that is installed, and the tiny networks as ``toys/listener`` and ``toys/wide_listener``."""
    plugin = types.ModuleType("sound_toys")
    models = [listener("listener"), listener("wide_listener", wide=True)]
    vars(plugin).update(zoo_models=hookimpl(lambda: models))
    return build_registry([("toys", plugin)])


def tone(label: str, number: int, seconds: float | None = None) -> np.ndarray:
    """(n,) float at FILE_RATE: a pitch that wanders, in noise; long enough for three windows, or very short."""
    rng = np.random.default_rng([number, LABELS.index(label)])
    seconds = seconds or float(rng.choice([0.08, 0.2, 0.37, 0.5, 0.9, 1.7]))
    time = np.arange(round(seconds * FILE_RATE)) / FILE_RATE
    pitch = PITCHES[label] * rng.uniform(0.8, 1.3)
    return 0.3 * np.sin(2 * np.pi * pitch * time) * rng.uniform(0.2, 1) + rng.normal(0, 0.05, len(time))


def write_tones(folder: Path, count: dict[str, int]) -> Path:
    """Class folders of WAV files, two channels in every third of them."""
    for split, number in count.items():
        for label in LABELS:
            (folder / split / label).mkdir(parents=True)
            for i in range(number):
                sound = tone(label, i + 1000 * (split == "val"))
                sound = np.stack([sound, 0.5 * sound], axis=1) if i % 3 == 0 else sound
                soundfile.write(folder / split / label / f"{label}{i}.wav", sound, FILE_RATE)
    return folder


def finish_run(
    folder: Path,
    data: Path,
    head_name: str,
    *,
    model: str = "toys/listener",
    seconds: float = SECONDS,
    weights: str | None = "none",
    **options: Any,
) -> Path:
    """A run folder as ``zoo finetune`` leaves it: a random network, and a head fitted by :func:`fit_head`, or one of
    large random weights."""
    registry = zoo.default_registry()
    config = FinetuneConfig(model=model, data=str(data), weights=weights, seconds=seconds, **options)
    loaded = load_backbone(model, weights=weights, registry=registry, seconds=seconds)
    dataset = read_dataset(config, "audio", registry)
    head_id = registry.head(head_name).id
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry, head_id, loaded.backbone)
    prepared = prepare(dataset, pipeline, config, ("train", "val"))
    torch.manual_seed(1)
    task = SupervisedTask(loaded.backbone, build_head(head_id, loaded.backbone.dim, dataset.labels, registry)).eval()
    if hasattr(task.head, "linear"):
        fit_head(task, prepared)
    else:
        with torch.no_grad():
            for parameter in task.head.parameters():  # type: ignore[attr-defined]
                parameter.normal_(std=2.0)
    (folder / "model").mkdir(parents=True)
    manifest = {"model_id": loaded.model_id, "data": {"name": dataset.name, "fingerprint": dataset.fingerprint}}
    run = Run(folder, config.model_dump(), manifest)
    start_run(run)
    meta = {
        "model_id": loaded.model_id,
        "weights_id": loaded.weights_id,
        "weights_sha256": None,
        "plugin": loaded.plugin,
        "plugin_version": loaded.plugin_version,
        "head": head_id,
        "task": dataset.task,
        "labels": list(dataset.labels),
        "input": input_dict(loaded.input),
        "input_name": pipeline.input_name,
        "preprocessing": pipeline.describe(),
        "versions": versions(),
        "metrics": {},
        "data": {"name": dataset.name, "origin": dataset.origin, "fingerprint": dataset.fingerprint},
    }
    save_trained(run.path / "model", {"backbone": task.backbone.module, "head": task.head}, meta)
    run.update_manifest(status="finished")
    return run.path


def fit_head(task: SupervisedTask, data: Any) -> None:
    """Ridge regression of the labels on the pooled features of the training windows."""
    store, pooled = data.stores["train"], []
    for row in range(len(store)):
        (array,) = store.each([row])
        batch = {"waveform": torch.tensor(array)[None], "length": torch.tensor([len(array)])}
        with torch.no_grad():
            pooled.append(task.backbone(data.pipeline.prepare(batch)).pooled[0])
    labels = torch.as_tensor(np.asarray(data.labels["train"]))
    target = (
        F.one_hot(labels, len(task.head.labels)).double() * 6 - 2
        if labels.dim() == 1 and not labels.is_floating_point()
        else labels.double()
    )
    target = target if target.dim() == 2 else target[:, None]
    x = torch.stack(pooled).double()
    mean, spread, centre = x.mean(0), x.std(0) + 1e-6, target.mean(0)
    scaled = (x - mean) / spread
    solved = torch.linalg.solve(scaled.T @ scaled + 10.0 * torch.eye(x.shape[1]).double(), scaled.T @ (target - centre))
    linear: Any = task.head.linear
    with torch.no_grad():
        weight = (solved / spread[:, None]).T
        linear.weight.copy_(weight)
        linear.bias.copy_(centre - weight @ mean)


HEADS = {
    "transcription": "audio/ctc",
    "frame-classification": "audio/frame-classification",
    "speaker-verification": "audio/speaker-verification",
}


def write_speech(folder: Path, task: str) -> Path:
    """A table for a task of sound, of 30 recordings of one to three tones, each named by its letters."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for i in range(30):
        rng = np.random.default_rng(i)
        said = [LABELS[j] for j in rng.integers(0, 3, 1 + i % 3)]
        sounds = [tone(label, i, float(rng.choice([0.15, 0.3]))) for label in said]
        path = str(folder / f"clip{i}.wav")
        soundfile.write(path, np.concatenate(sounds), FILE_RATE)
        ends = np.cumsum([len(sound) for sound in sounds]) / FILE_RATE
        if task == "transcription":
            rows.append({"path": path, "transcript": " ".join(said)})
        elif task == "speaker-verification":
            rows.append({"path": path, "speaker": f"s{i % 10}"})
        else:
            starts = [0, *ends[:-1]]
            rows += [
                {"path": path, "start": float(start), "end": float(end), "label": label}
                for start, end, label in zip(starts, ends, said, strict=True)
            ]
    return write_table(folder / f"{task}.jsonl", rows)


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def nearly(one: Any, other: Any) -> bool:
    """Equal but for the last digits of numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(nearly(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(nearly, one, other))
    return one == pytest.approx(other, abs=1e-4) if isinstance(one, float) else one == other


def invoke(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of the command line in this process."""
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    code = getattr(result.exception, "exit_code", result.exit_code)
    return code, result.stdout, result.stderr + str(result.exception or "")
