"""Whole runs on recordings of which some are longer than the network hears: crops, windows, and figures of clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hearing_toys import RATE, hearing_registry, write_recordings
from safetensors.torch import load_file, save_file

import zoo
from zoo import launch
from zoo.config import FinetuneConfig, PretrainConfig, make_config
from zoo.data.clips import Crops, Windows
from zoo.data.draws import HashDraws
from zoo.prepared import Prepared, prepare, read_dataset
from zoo.recipes import finetune, resume_finetune
from zoo.run import open_run
from zoo.trained import input_dict, load_trained, pipeline_for, write_meta
from zoo.weights import identify_weights, load_backbone
from zoo.windowing import windows_of
from zoo_audio.pipeline import AudioPipeline
from zoo_registry.errors import DataError, UsageError
from zoo_registry.registry import Registry

TINY: dict[str, Any] = {"weights": "none", "device": "cpu", "epochs": 3, "batch_size": 4}
WINDOW = RATE // 2


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    found = hearing_registry()
    monkeypatch.setattr(zoo, "default_registry", lambda: found)
    return found


@pytest.fixture
def recordings(registry: Registry, tmp_path: Path) -> Path:
    return write_recordings(tmp_path / "data")


@pytest.fixture
def sound_weights(registry: Registry, tmp_path: Path) -> Path:
    torch.manual_seed(5)
    save_file(
        load_backbone("hearer", weights="none", registry=registry).backbone.module.state_dict(),
        tmp_path / "w.safetensors",
    )
    return tmp_path / "w.safetensors"


def prepared(data: Path, registry: Registry, head: str | None = None, **options: Any) -> Prepared:
    config = make_config(FinetuneConfig, {"model": "hearer", "data": str(data), "weights": "none", **options})
    loaded = launch.load(config, registry, list)
    dataset = read_dataset(config, "audio", registry)
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry, head)
    return prepare(dataset, pipeline, config, ("train", "val"))


def test_long_recordings_become_windows_and_crops(
    recordings: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    data = prepared(recordings, registry)
    for split, clips, long in (("train", 16, 4), ("val", 10, 2)):
        store, table = data.stores[split], data.tables[split]
        assert isinstance(store, Windows)
        assert len(store) == len(table) == len(data.labels[split]) == clips + 2 * long
        assert max(store.lengths) == WINDOW
        owners = table.columns["owner"]
        assert sorted(set(owners)) == list(range(clips))
        source = data.dataset.splits[split].columns
        for name in ("input", "label"):
            assert table.columns[name] == [source[name][owner] for owner in owners]
        assert data.labels[split].tolist() == table.columns["label"]
        for row, owner in enumerate(owners):
            whole = data.pipeline.decode(source["input"][owner])
            number = row - owners.index(owner)
            assert np.array_equal(store.each([row])[0], windows_of(whole, WINDOW)[number])
    crops, labels = data.training
    assert isinstance(crops, Crops)
    assert len(crops) == len(labels) == 16
    assert labels.tolist() == data.dataset.splits["train"].columns["label"]
    said = capsys.readouterr().err
    assert "train: 4 of 16 recordings are longer than 0.5 s: a random part of each is trained on" in said
    assert "val: 2 of 10 recordings are longer than 0.5 s: 14 windows cover them all" in said
    assert "--seconds" in said


def test_where_nothing_is_long_rows_are_recordings(recordings: Path, registry: Registry) -> None:
    for seconds in (1.3, 0):
        data = prepared(recordings, registry, seconds=seconds)
        assert data.crops is None
        assert len(data.stores["train"]) == 16
        assert data.training == (data.stores["train"], data.labels["train"])


def test_heads_for_whole_recordings_leave_long_ones_out(
    recordings: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    data = prepared(recordings, registry, "toys/whole")
    assert data.crops is None
    for split, clips in (("train", 12), ("val", 8)):
        assert len(data.stores[split]) == len(data.tables[split]) == len(data.labels[split]) == clips
        assert max(data.stores[split].lengths) == 0.2 * RATE
        assert all(not item.endswith("3.wav") for item in data.tables[split].columns["input"])
    assert "4 of 16 recordings are longer than 0.5 s and left out, because they cannot be cut (--seconds" in (
        capsys.readouterr().err
    )
    assert len(prepared(recordings, registry, "toys/whole", seconds=2).stores["train"]) == 16
    with pytest.raises(DataError, match="All 16 recordings") as caught:
        prepared(recordings, registry, "toys/whole", seconds=0.1)
    assert "--seconds" in caught.value.remedy


def test_decoding_on_demand_prepares_the_same(recordings: Path, registry: Registry) -> None:
    kept, live = prepared(recordings, registry), prepared(recordings, registry, cache_limit="0")
    rows = np.arange(len(kept.stores["train"]))
    assert np.array_equal(kept.stores["train"].take(rows), live.stores["train"].take(rows))
    one, other = (data.training[0].at(0, 3) for data in (kept, live))  # type: ignore[union-attr]
    assert np.array_equal(one.take(np.arange(16)), other.take(np.arange(16)))


@pytest.mark.parametrize("strategy", ["full", "lp-ft", "head"])
def test_figures_are_of_recordings(recordings: Path, registry: Registry, tmp_path: Path, strategy: str) -> None:
    result = finetune("hearer", str(recordings), output=tmp_path / "run", strategy=strategy, **TINY)
    evaluation = json.loads((result.run / "evaluation.json").read_text())
    assert evaluation["n"] == 10
    trained = load_trained(result.run, registry)
    scores, truth = [], []
    for label, name in enumerate(trained.labels):
        for path in sorted((recordings / "val" / name).iterdir()):
            windows = windows_of(trained.pipeline.decode(str(path)), WINDOW)
            logits = []
            for window in windows:
                batch = {"waveform": torch.tensor(window)[None], "length": torch.tensor([len(window)])}
                with torch.no_grad():
                    logits.append(trained.task.head(trained.task.backbone(trained.pipeline.prepare(batch))))
            scores.append(torch.stack(logits).mean(dim=0).softmax(dim=-1)[0])
            truth.append(label)
    accuracy = float((torch.stack(scores).argmax(dim=1) == torch.tensor(truth)).float().mean())
    loss = torch.stack(scores).log()[torch.arange(10), torch.tensor(truth)].neg().mean()
    assert evaluation["metrics"]["accuracy"] == pytest.approx(accuracy)
    assert evaluation["metrics"]["log_loss"] == pytest.approx(float(loss), abs=1e-5)


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(
    recordings: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crops and augmentation are functions of (seed, epoch, row)."""
    options = {**TINY, "strategy": "full", "save_every": 1}
    finetune("hearer", str(recordings), output=tmp_path / "whole", **options)
    augment, steps = AudioPipeline.augment, iter(range(100))

    def until_the_power_fails(self: AudioPipeline, batch: Any, draws: HashDraws) -> Any:
        if next(steps) == 6:  # in the second of three epochs
            raise RuntimeError("no power")
        return augment(self, batch, draws)

    with monkeypatch.context() as patch:
        patch.setattr(AudioPipeline, "augment", until_the_power_fails)
        with pytest.raises(RuntimeError, match="no power"):
            finetune("hearer", str(recordings), output=tmp_path / "cut", **options)
    resume_finetune(tmp_path / "cut")
    for name in ("backbone", "head"):
        one, other = (load_file(tmp_path / run / "model" / f"{name}.safetensors") for run in ("whole", "cut"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_batches_by_seconds(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = finetune("hearer", str(recordings), output=tmp_path / "run", **TINY, strategy="full", batch_seconds=1.0)
    assert "batches of 1 s" in capsys.readouterr().err
    # Twelve of 0.2 s, five at a time, and four of 0.5 s, two at a time: 2 + 3 batches, the last two of like size.
    steps = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in steps) == 3 * 5


def test_seconds_are_settled_once(
    recordings: Path, sound_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**TINY, "weights": str(sound_weights), "epochs": 1}
    result = finetune("fitted", str(recordings), output=tmp_path / "run", **options)
    said = capsys.readouterr().err
    assert "strategy: full" in said
    assert "made for other inputs" in said
    config = yaml.safe_load((result.run / "config.yaml").read_text())
    assert config["seconds"] == 0.2
    assert config["strategy"] == "full"
    meta = json.loads((result.run / "model" / "model.json").read_text())
    assert meta["input"]["seconds"] == meta["preprocessing"]["seconds"] == 0.2
    assert load_trained(result.run).pipeline.window == 0.2 * RATE  # type: ignore[attr-defined]


@pytest.mark.parametrize(("seconds", "fitted"), [(None, 0.2), (0.7, 0.7), (0.0, 0.0)])
def test_what_was_asked_for_stands_and_a_resumed_run_keeps_what_it_began_with(
    recordings: Path, sound_weights: Path, registry: Registry, tmp_path: Path, seconds: float | None, fitted: float
) -> None:
    for weights in (str(sound_weights), "none"):
        values = {"model": "fitted", "data": str(recordings), "weights": weights, "seconds": seconds}
        config = make_config(FinetuneConfig, values)
        inputs = read_dataset(config, "audio", registry).splits["train"].columns["input"]
        loaded = launch.load(config, registry, lambda inputs=inputs: inputs)
        assert loaded.input.seconds == fitted
        assert loaded.input.rate == RATE
        pinned = make_config(FinetuneConfig, {**values, **launch.pinned_input(loaded)})
        assert launch.load(pinned, registry, lambda inputs=inputs: inputs).input == loaded.input
        saved = tmp_path / "saved"
        saved.mkdir(exist_ok=True)
        write_meta(saved, {"input": {**input_dict(loaded.input), "rate": 1500}})
        again = launch.load(pinned, registry, lambda: pytest.fail("fitted again"), saved=saved).input
        assert (again.seconds, again.rate) == (fitted, 1500)


def test_the_contract_of_a_run_goes_on(
    recordings: Path, sound_weights: Path, registry: Registry, tmp_path: Path
) -> None:
    options = {**TINY, "epochs": 1, "seconds": 0.4, "weights": str(sound_weights)}
    first = finetune("fitted", str(recordings), output=tmp_path / "first", **options)
    again = finetune(str(first.run), str(recordings), output=tmp_path / "again", device="cpu", epochs=1)
    assert open_run(again.run).config["seconds"] == 0.4
    assert open_run(again.run).config["strategy"] == "lp-ft"  # these weights have heard sounds


def test_flags_of_other_modalities_are_refused(registry: Registry) -> None:
    def refused(match: str, model: str = "hearer", **options: Any) -> None:
        config = make_config(PretrainConfig, {"model": model, "data": "d", "weights": "none", **options})
        with pytest.raises(UsageError, match=match):
            launch.identify(config, registry)

    refused("takes no sound", "test_resnet", seconds=1.0)
    refused("takes no sound", "bert_tiny", seconds=1.0)
    refused("no seconds", "test_resnet", batch_seconds=1.0)
    refused("no seconds", "bert_tiny", batch_seconds=1.0)
    refused("no tokens", batch_tokens=100)
    refused("--size", size=32)
    refused("--max-length", max_length=32)
    values = {"model": "fitted", "data": "d", "weights": "none", "tokenizer": "t"}
    with pytest.raises(UsageError, match="tokenizer"):
        launch.load(make_config(PretrainConfig, values), registry, list)
    for wrong in (-1.0, float("nan"), float("inf"), 1e-5):
        with pytest.raises(UsageError, match="no sense"):
            identify_weights("hearer", weights="none", registry=registry, seconds=wrong)
    for wrong in ({"seconds": -1}, {"seconds": "nan"}, {"batch_seconds": 0}, {"batch_seconds": "inf"}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            make_config(FinetuneConfig, {"model": "m", "data": "d", **wrong})
    assert identify_weights("hearer", weights="none", registry=registry, seconds=0).input.seconds == 0
