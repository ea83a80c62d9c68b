"""Predicting with a model of pairs and labels: by name and by run, against the sums written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tower_toys

import zoo
from zoo.cli.main import run
from zoo.protocols import Paired
from zoo.trained import pipeline_for
from zoo.weights import load_backbone
from zoo_registry.errors import UnknownName, UsageError
from zoo_registry.registry import Registry

LABELS = list(tower_toys.CLASSES)


def by_hand(paths: list[Path], labels: list[str], templates: list[str], registry: Registry) -> np.ndarray:
    """Scores, one picture and one sentence at a time."""
    loaded = load_backbone("toy-pair", registry=registry)
    pair: Any = loaded.backbone
    pair.eval()
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry)
    assert isinstance(pipeline, Paired)
    image, text = pipeline.parts
    classes = []
    for label in labels:
        vectors = []
        for template in templates:
            tokens = torch.from_numpy(text.decode(template.replace("{}", label.replace("_", " ").replace("-", " "))))
            batch = {"tokens": tokens[None], "length": torch.tensor([len(tokens)])}
            vectors.append(pair.encode("text", text.prepare(batch))[0])
        mean = torch.stack(vectors).mean(0)
        classes.append(mean / mean.norm())
    rows = []
    for path in paths:
        picture = image.prepare({"image": torch.from_numpy(image.decode(str(path)))[None]})
        vector = pair.encode("image", picture)[0]
        rows.append(torch.stack([pair.logit_scale.exp() * vector @ one for one in classes]).softmax(0))
    return torch.stack(rows).detach().numpy()


def test_predictions_are_the_softmax_of_cosines(pictures: Path, registry: Registry) -> None:
    paths = sorted((pictures / "val").rglob("*.png"))
    templates = ["a photo of a {}.", "a drawing of the {}."]
    rows = zoo.predict("toy-pair", paths, labels=LABELS, templates=templates, batch_size=4)
    found = np.array([[row["scores"][label] for label in LABELS] for row in rows])
    assert np.abs(found - by_hand(paths, LABELS, templates, registry)).max() < 1e-5
    assert [row["input"] for row in rows] == [str(path) for path in paths]
    assert all(row["label"] == LABELS[int(scores.argmax())] for row, scores in zip(rows, found, strict=True))
    assert np.mean([row["label"] in row["input"] for row in rows]) > 0.6


def test_templates_count(pictures: Path) -> None:
    one, other = (
        zoo.predict("toy-pair@made", [pictures / "val"], labels=LABELS, templates=templates)[0]["score"]
        for templates in (["a photo of a {}."], None)
    )
    assert one != other


def test_a_run_has_weights_of_its_own(pictures: Path, pairs_run: Path) -> None:
    by_name, by_run = (
        zoo.predict(target, [pictures / "val"], labels=LABELS)[0]["scores"] for target in ("toy-pair", pairs_run)
    )
    assert by_name != by_run
    assert sum(by_run.values()) == pytest.approx(1)


def test_the_verb(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["predict", "toy-pair", str(pictures / "val" / "dot"), "--labels", "a bar code,a dot", "--top", "1"]
    assert run([*arguments, "--template", "a photo of {}", "--template", "{}", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "2 labels in 2 sentences each; scores are a softmax" in err
    assert {row["label"] for row in json.loads(out)} == {"a dot"}
    assert all(list(row["scores"]) == ["a dot"] for row in json.loads(out))


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["toy-image", "--labels", "a,b"], 2, "no text tower"),
        (["toy-alone", "--labels", "a,b"], 2, "no text tower"),
        (["toy-piar", "--labels", "a,b"], 3, "Did you mean toy-pair"),
        (["toy-pair"], 2, "--labels 'a cat,a dog'"),
        (["toy-pair", "--template", "a {}"], 2, "--labels 'a cat,a dog'"),
        (["toy-pair", "--labels", "dot,dot"], 2, "'dot' twice"),
        (["toy-pair", "--labels", "dot,,bar"], 2, "empty"),
        (["toy-pair", "--labels", "dot"], 2, "only one label"),
        (["toy-pair", "--labels", "a,b", "--template", "photo"], 2, "no place for a class name"),
        (["toy-pair", "--labels", "@none.txt"], 6, "cannot be read"),
    ],
)
def test_errors(
    arguments: list[str], code: int, problem: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, *options = arguments
    assert run(["predict", target, str(pictures / "val"), *options]) == code
    assert problem in capsys.readouterr().err


def test_a_finetuned_run_keeps_its_labels(pictures: Path, tmp_path: Path) -> None:
    tuned = zoo.finetune("toy-pair", str(pictures), strategy="head", output=tmp_path / "tuned").run
    with pytest.raises(UsageError, match="does not choose between others"):
        zoo.predict(tuned, [pictures / "val"], labels=LABELS)
    with pytest.raises(UsageError, match="there are no labels"):
        zoo.predict(tuned, [pictures / "val"], templates=["a {}"])


def test_a_checkpoint_of_pairs_names_its_run(pictures: Path, pairs_run: Path) -> None:
    checkpoint = pairs_run / "checkpoints" / "best"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "state.json").write_text("{}")
    with pytest.raises(UsageError, match="checkpoint of a run of pairs"):
        zoo.predict(checkpoint, [pictures / "val"], labels=LABELS)


def test_an_unknown_name_without_labels_is_a_path(pictures: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        zoo.predict("toy-piar", [pictures / "val"])
    with pytest.raises(UnknownName):
        zoo.predict("toy-piar", [pictures / "val"], labels=LABELS)
