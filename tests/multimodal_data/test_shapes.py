"""The built-in pictures with captions: what is promised of them, and that they are always the same."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.data.pairs import load_pairs
from zoo_multimodal import sample_shapes
from zoo_multimodal.sample_shapes import Scene, draw_scene, scenes, write_shapes_captions
from zoo_multimodal.sample_shapes_draw import COLOURS, SHAPES, SIDE
from zoo_registry.errors import DataError


def kinds(scene: Scene) -> frozenset[tuple[str, str]]:
    return frozenset((colour, shape) for _, colour, shape in scene.things)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_shapes, "SPLITS", {"train": 30, "val": 10})


def test_what_meets_in_validation_meets_nowhere_in_training() -> None:
    train, val = scenes("train"), scenes("val")
    assert (len(train), len(val)) == (4000, 100)
    met = {kinds(scene) for scene in val}
    assert len(met) == len({scene.caption for scene in val}) == 100
    assert all(len(one) == 2 for one in met)
    assert not met & {kinds(scene) for scene in train}
    assert len({scene.caption for scene in train}) > 3000
    assert scenes("train") == train


def test_everything_is_seen_in_training() -> None:
    train = scenes("train")
    things = Counter(thing for scene in train for thing in scene.things)
    assert set(things) == set(product(("small", "large"), COLOURS, SHAPES))
    assert min(things.values()) >= 30
    places = Counter((scene.upright, scene.swapped) for scene in train if len(scene.things) == 2)
    assert len(places) == 4
    assert min(places.values()) > 600
    assert 400 < sum(len(scene.things) == 1 for scene in train) < 800


def test_captions_say_what_is_where() -> None:
    one, other = ("small", "red", "star"), ("large", "blue", "ring")
    assert Scene((one,)).caption == "a small red star"
    assert Scene((one, other)).caption == "a small red star to the left of a large blue ring"
    assert Scene((one, other), swapped=True).caption == "a large blue ring to the right of a small red star"
    assert Scene((one, other), upright=True).caption == "a small red star above a large blue ring"
    assert Scene((one, other), upright=True, swapped=True).caption == "a large blue ring below a small red star"


@pytest.mark.parametrize(("upright", "axis"), [(False, 1), (True, 0)])
def test_pictures_show_what_captions_say(upright: bool, axis: int) -> None:
    for seed in range(20):
        pixels = draw_scene(Scene((("small", "red", "square"), ("large", "blue", "circle")), upright), (seed,)).astype(
            int
        )
        red = (pixels[..., 0] > 150) & (pixels[..., 1:].max(axis=2) < 90)
        blue = (pixels[..., 2] > 120) & (pixels[..., 0] < 90) & (pixels[..., 2] - pixels[..., 1] > 40)
        assert 30 < red.sum() < 0.5 * blue.sum()
        centre = [np.mean(np.nonzero(mask), axis=1) for mask in (red, blue)]
        apart = centre[1] - centre[0]
        assert apart[axis] > 2.5 * abs(apart[1 - axis])
        assert apart[axis] > 0.35 * SIDE


def test_shades_of_colours_lie_apart() -> None:
    hues = sorted(ranges[0] for name, ranges in COLOURS.items() if name not in ("white", "black"))
    assert all(after[0] - before[1] >= 18 for before, after in pairwise(hues))
    assert COLOURS["white"][2][0] > 0.9 > 0.1 >= COLOURS["black"][2][1]


def test_the_folder_is_the_same_whenever_it_is_written(tmp_path: Path, few: None) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    sums = []
    for folder in folders:
        write_shapes_captions(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        sums.append({str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).digest() for file in files})
    assert sums[0] == sums[1]
    assert len(set(sums[0].values())) == len(sums[0]) == 41
    with (folders[0] / "captions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["split"] for row in rows) == {"train": 30, "val": 10}
    for row in rows:
        with Image.open(folders[0] / row["path"]) as image:
            assert (image.size, image.mode) == ((64, 64), "RGB")
    with pytest.raises(DataError, match="exists already"):
        write_shapes_captions(folders[0])
    assert not [path for path in tmp_path.iterdir() if path not in folders]


def test_it_is_known_by_name_and_said_to_be_built_in(few: None, capsys: pytest.CaptureFixture[str]) -> None:
    registry = zoo.default_registry()
    dataset = load_pairs("shapes_captions", registry=registry, modality="image-text")
    assert dataset.sample
    assert {split: len(table) for split, table in dataset.splits.items()} == {"train": 30, "val": 10}
    said = capsys.readouterr().err
    assert "data: built-in sample of shapes_captions" in said
    assert "shapes_captions is generated image-text data, built in" in said
    assert not any("are in both" in note for note in dataset.notes)
    with pytest.raises(DataError, match="not on this machine"):
        load_pairs("shapes_captions", registry=registry, modality="image-text", allow_sample=False)
    with pytest.raises(DataError, match="holds image-text data"):
        load_pairs("shapes_captions", registry=registry, modality="audio-text")
