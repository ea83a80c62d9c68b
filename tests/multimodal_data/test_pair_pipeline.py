"""A pipeline of pairs against the pipelines of its sides, and its store and batches against plain indexing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captioned import audio_side, caption, image_side, image_text, pictures, png, recording, samples, shard, text_side

import zoo
from zoo.config import PretrainConfig
from zoo.data.batches import Eval, Train
from zoo.data.dataset import DataSet, Table
from zoo.data.draws import HashDraws
from zoo.data.items import distinct
from zoo.data.pair_store import PairCrops, decode_sides, pair_up
from zoo.data.pairs import load_pairs
from zoo.pairs import PairPipeline, put_side, side_inputs, side_of, sides
from zoo.prepared import prepare
from zoo.protocols import Matches, Paired, Portable
from zoo.trained import pipeline_for
from zoo_registry.errors import DataError, PluginError
from zoo_registry.registry import build_registry
from zoo_registry.specs import InputSpec


def config(**more: Any) -> PretrainConfig:
    return PretrainConfig(model="m", data="d", objective="clip", **more)


def dataset(pairs: list[Any], modality: str = "image-text") -> DataSet:
    table = Table({"input": pairs, "label": [0] * len(pairs)})
    return DataSet("d", "here", modality, "pretraining", {"train": table, "val": table.take(range(2))}, (), "f")


@pytest.fixture
def pairs(tmp_path: Path) -> list[tuple[str, str]]:
    """Twelve pictures, of which the first has three captions; two captions are the same."""
    names = [str(tmp_path / name) for name in pictures(tmp_path, 12)]
    return [
        *((name, caption(i)) for i, name in enumerate(names)),
        (names[0], "a film"),
        (names[0], "a good film on the mat"),
        (names[3], "a film"),
    ]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_modalities_and_sides_of_batches() -> None:
    assert sides("image-text") == ("image", "text")
    assert sides("image") is None
    batch = {
        "image.image": torch.ones(2),
        "text.tokens": torch.zeros(2),
        "index": torch.arange(2),
        "label": torch.zeros(2),
    }
    assert side_of(batch, "text").keys() == {"tokens", "index"}
    again = put_side(batch, "text", {"input_ids": torch.ones(2), "index": torch.zeros(2), "label": torch.ones(2)})
    assert again.keys() == {"image.image", "text.input_ids", "index", "label"}
    assert torch.equal(again["index"], batch["index"])
    assert torch.equal(again["label"], batch["label"])


def test_each_side_is_what_its_own_pipeline_makes_of_it(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    pipeline = image_text(tmp_path / "tokens")
    assert isinstance(pipeline, Paired)
    assert isinstance(pipeline, Portable)
    assert isinstance(pipeline, Matches)
    image, text = pipeline.parts
    decoded = pipeline.decode(pairs[0])
    assert (decoded[0] == image.decode(pairs[0][0])).all()
    assert (decoded[1] == text.decode(pairs[0][1])).all()
    data = prepare(dataset(pairs), pipeline, config(), ("train",))
    batches = Eval(data.stores["train"], data.labels["train"], pipeline, batch_size=4)
    for batch in batches.stream():
        rows = batch["index"]
        assert (batch["image.image"].numpy() == np.stack([image.decode(pairs[row][0]) for row in rows])).all()
        for row, tokens, length in zip(rows, batch["text.tokens"].numpy(), batch["text.length"], strict=True):
            wanted = text.decode(pairs[row][1])
            assert (tokens[:length] == wanted).all()
            assert not tokens[length:].any()
        draws = HashDraws(0, 3, rows)
        for made, part in (
            (pipeline.prepare(batch), lambda part, side: part.prepare(side)),
            (pipeline.augment(batch, draws), lambda part, side: part.augment(side, draws)),  # noqa: B023
        ):
            assert made.keys() == {
                "image.image",
                *(f"text.{n}" for n in ("input_ids", "attention_mask", "token_type_ids", "word")),
                "index",
                "label",
            }
            same(side_of(made, "image"), part(image, side_of(batch, "image")))
            same(side_of(made, "text"), part(text, side_of(batch, "text")))


def test_a_picture_is_decoded_once_however_many_captions_it_has(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    pipeline = image_text(tmp_path / "tokens")
    data = prepare(dataset(pairs), pipeline, config(), ("train",))
    image, text = data.stores["train"].sides
    assert (len(image.items), len(text.items), len(data.stores["train"])) == (12, 14, 15)
    assert image.places.tolist() == [*range(12), 0, 0, 3]
    found, which = distinct([{"path": "a"}, {"path": "a"}, "b", b"c", "b"], "audio")
    assert (found, which.tolist()) == ([{"path": "a"}, "b", b"c"], [0, 0, 1, 2, 1])


@pytest.mark.parametrize("limit", [None, "0"])
def test_the_store_is_the_same_decoded_once_or_on_demand(
    tmp_path: Path, pairs: list[tuple[str, str]], limit: str | None
) -> None:
    pipeline = image_text(tmp_path / "tokens")
    store = prepare(dataset(pairs), pipeline, config(cache_limit=limit), ("train",)).stores["train"]
    columns = store.columns(np.array([14, 2, 14]))
    image, text = pipeline.parts
    assert (columns["image.image"][0] == image.decode(pairs[14][0])).all()
    assert (columns["text.tokens"][1, : columns["text.length"][1]] == text.decode(pairs[2][1])).all()
    assert (columns["image.image"][0] == columns["image.image"][2]).all()


def test_a_stream_from_any_step_goes_on_as_the_whole_does(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    pipeline = image_text(tmp_path / "tokens")
    data = prepare(dataset(pairs), pipeline, config(), ("train",))
    train = Train(*data.training, pipeline, batch_size=4, seed=5)
    whole = list(train.stream(0, 9))
    assert (train.steps_per_epoch, len(whole)) == (3, 9)
    for start in (1, 3, 7):
        for one, other in zip(train.stream(start, 9), whole[start:], strict=True):
            same(one, other)
            same(train.transform(one, start // 3), train.transform(other, start // 3))
    epoch = torch.cat([batch["index"] for batch in whole[:3]])
    assert len(set(epoch.tolist())) == 12
    assert not torch.equal(epoch, torch.cat([batch["index"] for batch in whole[3:6]]))
    parts = [list(train.stream(0, 3, rank, 2)) for rank in range(2)]
    for step in range(3):
        shared = torch.stack([parts[rank][step]["index"] for rank in range(2)], dim=1).flatten()
        assert torch.equal(shared, whole[step]["index"])


def test_shards_decode_to_what_files_decode_to(tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", samples(9))
    pipeline = image_text(tmp_path / "tokens")
    registry = build_registry(plugins=[], autoload=False)
    read = load_pairs(str(tmp_path / "0.tar"), registry=registry, modality="image-text", val_fraction=0.3)
    store = prepare(read, pipeline, config(), ("train",)).stores["train"]
    images = store.columns(np.arange(len(store)))["image.image"]
    for row, (_, text) in zip(images, read.splits["train"].columns["input"], strict=True):
        assert (row == image_side().decode(png(int(text.split()[-1])))).all()
    again = prepare(read, pipeline, config(), ("train",)).stores["train"]
    assert (again.key, len(again)) == (store.key, len(store))


def test_pairs_with_a_side_that_cannot_be_read_are_left_out_and_named(
    tmp_path: Path, pairs: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(pairs[0][0]).write_bytes(b"no picture")
    pairs[5] = (pairs[5][0], "")
    pairs[7] = (str(tmp_path / "none.png"), pairs[7][1])
    pipeline = image_text(tmp_path / "tokens")
    store, crops = pair_up(decode_sides(pairs, pipeline, max_bad=0.5), max_bad=0.5)
    assert crops is None
    assert store.kept.tolist() == [1, 2, 3, 4, 6, 8, 9, 10, 11, 14]
    assert [what for what, _ in store.bad] == [pairs[0][0], pairs[5][0], pairs[7][0], pairs[0][0], pairs[0][0]]
    assert "does not exist" in store.bad[2][1]
    assert "left out 5 of 15 pairs" in capsys.readouterr().err
    images = store.columns(np.array([4]))["image.image"]
    assert (images[0] == image_side().decode(pairs[6][0])).all()
    with pytest.raises(DataError, match="More than 30% of the 15 items"):
        pair_up(decode_sides(pairs, pipeline, max_bad=0.3), max_bad=0.3)


def test_long_recordings_are_cropped_to_train_and_heard_in_the_middle_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(6):
        recording(tmp_path / f"{i}.wav", 0.3 if i < 2 else 1.1, i)
    pairs = [(str(tmp_path / f"{i}.wav"), caption(i)) for i in range(6)]
    audio = audio_side(0.5)
    pipeline = PairPipeline(audio, text_side(tmp_path / "tokens"))
    data = prepare(dataset(pairs, "audio-text"), pipeline, config(), ("train", "val"))
    assert "4 of 6 recordings are longer than 0.5 s" in capsys.readouterr().err
    (batch,) = Eval(data.stores["train"], data.labels["train"], pipeline, batch_size=6).stream()
    assert batch["audio.length"].tolist() == [600, 600, 1000, 1000, 1000, 1000]
    whole = audio.decode(pairs[3][0])
    assert (batch["audio.waveform"][3].numpy() == whole[600:1600]).all()
    assert isinstance(data.training[0], PairCrops)
    train = Train(*data.training, pipeline, batch_size=6, seed=1)
    epochs = [next(iter(train.stream(epoch, epoch + 1))) for epoch in (0, 1)]
    places = []
    for epoch in epochs:
        row = epoch["index"].tolist().index(3)
        part = epoch["audio.waveform"][row].numpy()
        places += [start for start in range(len(whole) - 1000 + 1) if (whole[start : start + 1000] == part).all()]
    assert len(places) == len(set(places)) == 2
    same(next(iter(train.stream(1, 2))), epochs[1])


def test_contracts_of_sides(tmp_path: Path) -> None:
    image, text = InputSpec(modality="image", size=(3, 8, 8)), InputSpec(modality="text", size=(9,), assets="own")
    pair = InputSpec(modality="image-text", parts=(image, text), assets="of the pair")
    assert [part.assets for part in side_inputs(pair)] == ["of the pair", "own"]
    for parts in ((image,), (text, image), ()):
        with pytest.raises(PluginError, match="one part for each of two sides"):
            side_inputs(dataclasses.replace(pair, parts=parts))


def test_a_model_of_pairs_has_the_pipelines_of_its_towers(tmp_path: Path) -> None:
    registry = zoo.default_registry()
    model = registry.model("dual/resnet10t+bert_tiny")
    assets = str(text_side(tmp_path / "tokens").input.assets)
    pipeline = pipeline_for(model.id, dataclasses.replace(model.spec.input, assets=assets), registry)
    assert isinstance(pipeline, PairPipeline)
    for part, spec in zip(pipeline.parts, model.spec.input.parts, strict=True):
        alone = pipeline_for(model.spec.towers[part.modality], dataclasses.replace(spec, assets=assets), registry)
        assert (type(part), part.key, part.describe()) == (type(alone), alone.key, alone.describe())
    pipeline.save_assets(tmp_path / "run")
    again = pipeline_for(model.id, dataclasses.replace(model.spec.input, assets=str(tmp_path / "run")), registry)
    assert again.key == pipeline.key
    picture = str(tmp_path / pictures(tmp_path, 1)[0])
    assert again.decode((picture, "the cat"))[1].tolist() == pipeline.parts[1].decode("the cat").tolist()
