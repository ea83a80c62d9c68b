"""open_clip's networks through the verbs: exports of pairs, of zero-shot classifiers and of finetuned towers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import small_clip
from tower_toys import CLASSES

import zoo
from zoo.exporting import ExportResult, export
from zoo_registry.registry import Registry


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    found = small_clip.small_registry()
    monkeypatch.setattr(zoo, "default_registry", lambda: found)
    return found


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[Path, ExportResult]]:
    """Runs and their exports, as they are made."""
    return {}


@pytest.fixture
def pair(
    pairs: dict[str, tuple[Path, ExportResult]], registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, ExportResult]]:
    """``pair(family)`` -> a run of the family and its export, made once."""

    def make(family: str) -> tuple[Path, ExportResult]:
        if family not in pairs:
            folder = tmp_path_factory.mktemp(family)
            run = small_clip.write_run(family, folder / "run", registry)
            pairs[family] = run, export(run, folder / "out")
        return pairs[family]

    return make


@pytest.mark.parametrize("family", small_clip.FAMILIES)
def test_pairs_answer_alike(family: str, pair: Callable[[str], tuple[Path, ExportResult]], pictures: Path) -> None:
    run, made = pair(family)
    assert made.parity.agreement == 1.0
    assert made.parity.max_logit_difference < 1e-3
    ours, theirs = (zoo.predict(target, [pictures / "val"], labels=CLASSES) for target in (run, made.path))
    assert [row["label"] for row in ours] == [row["label"] for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-4)


def test_a_bias_is_in_the_bundle_and_changes_no_score(
    pair: Callable[[str], tuple[Path, ExportResult]], pictures: Path, tmp_path: Path
) -> None:
    run, both = pair("siglip")
    one = export(run, tmp_path / "one", labels=CLASSES)
    assert both.meta["logit_bias"] == pytest.approx(-10)
    assert one.meta["zero_shot"]["logit_bias"] == pytest.approx(-10)
    assert "scaled.T + -10" in (both.path / "MODEL_CARD.md").read_text()
    ours, theirs = zoo.predict(both.path, [pictures], labels=CLASSES), zoo.predict(one.path, [pictures])
    for left, right in zip(ours, theirs, strict=True):
        assert left["scores"] == pytest.approx(right["scores"], abs=1e-4)
        assert sum(left["scores"].values()) == pytest.approx(1)


def test_a_finetuned_tower_is_an_ordinary_export(registry: Registry, pictures: Path, tmp_path: Path) -> None:
    run = small_clip.write_run("vit", tmp_path / "run", registry)
    tuned = zoo.finetune(str(run), str(pictures), strategy="full", epochs=1, output=tmp_path / "tuned").run
    made = export(tuned, tmp_path / "out", preprocess="graph")
    meta = json.loads((made.path / "model.json").read_text())
    assert (meta["model_id"], meta["task"], meta["labels"]) == ("small/vit-image", "classification", sorted(CLASSES))
    assert made.parity.agreement >= 0.99
    one, other = zoo.predict(made.path, [pictures / "val"]), zoo.predict(tuned, [pictures / "val"])
    assert sum(a["label"] == b["label"] for a, b in zip(one, other, strict=True)) >= 14
