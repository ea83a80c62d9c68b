"""Tagging words: the loss against a loop, metrics over batches and processes, predictions in the user's terms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from text_toys import tiny, write_tokenizer

from zoo.kinds import Outcome, kind_of
from zoo.padding import pad
from zoo.protocols import IGNORE, Batch, Features
from zoo.tasks import SupervisedTask
from zoo_registry.errors import DataError, PluginError, UsageError
from zoo_registry.specs import InputSpec
from zoo_text.pipeline import text_pipeline
from zoo_text.token_head import TokenClassificationHead, TokenMetrics
from zoo_text.windows import WordView, word_view

TAGS = ("O", "B-animal", "I-animal", "B-place")
SENTENCES = [["the", "cat", "sat", "on", "mat"], ["dog", "ran"], ["unreals", "xcats", "far", "away", "dog", "sat"]]
LABELS = [[0, 1, 0, 0, 3], [1, 0], [1, 2, 0, 0, 1, 0]]


@pytest.fixture
def view(tmp_path: Path) -> WordView:
    return view_of(tmp_path, 8)


def view_of(folder: Path, length: int) -> WordView:
    assets = str(write_tokenizer(folder / "assets"))
    return word_view(text_pipeline(InputSpec(modality="text", size=(length,), assets=assets)))


def batch_of(view: WordView, items: list[Any], labels: list[list[int]]) -> tuple[Batch, list[np.ndarray]]:
    arrays = [view.decode(item) for item in items]
    tokens, length = pad(arrays)
    label, _ = pad([np.array(row, np.int64) for row in labels], IGNORE)
    batch = {"tokens": torch.from_numpy(tokens), "length": torch.from_numpy(length), "label": torch.from_numpy(label)}
    return view.prepare(batch), arrays


def test_loss_is_the_cross_entropy_at_first_tokens(view: WordView) -> None:
    head = TokenClassificationHead(4, TAGS)
    batch, arrays = batch_of(view, SENTENCES, LABELS)
    logits = torch.randn(*batch["word"].shape, len(TAGS))
    loss, count = head.loss(logits, batch)
    slow, words = 0.0, 0
    for row, array in enumerate(arrays):
        for place, word in enumerate(array[:, 2]):
            if word >= 0:
                slow -= float(logits[row, place].log_softmax(dim=-1)[LABELS[row][word]])
                words += 1
    assert float(loss) == pytest.approx(slow, rel=1e-5)
    assert int(count) == words
    assert words < sum(map(len, LABELS))  # one sentence is cut


def test_padding_changes_no_loss(view: WordView) -> None:
    head = TokenClassificationHead(4, TAGS)
    batch, arrays = batch_of(view, SENTENCES, LABELS)
    logits = torch.randn(*batch["word"].shape, len(TAGS))
    whole = head.loss(logits, batch)[0]
    parts = 0.0
    for row, array in enumerate(arrays):
        alone, _ = batch_of(view, [SENTENCES[row]], [LABELS[row]])
        parts += float(head.loss(logits[row : row + 1, : len(array)], alone)[0])
    assert float(whole) == pytest.approx(parts, rel=1e-5)


def test_streaming_metrics_are_those_of_the_report(view: WordView) -> None:
    random = torch.Generator().manual_seed(0)
    metrics = TokenMetrics(TAGS).to(torch.device("cpu"))
    scores, arrays = [], []
    for items, labels in ((SENTENCES[:2], LABELS[:2]), (SENTENCES[2:], LABELS[2:])):
        batch, found = batch_of(view, items, labels)
        target = torch.tensor([row + [0] * (batch["word"].shape[1] - len(row)) for row in labels])
        right = torch.nn.functional.one_hot(target.gather(1, batch["word"].clamp(min=0)), len(TAGS))
        logits = 2 * right + torch.randn(right.shape, generator=random)
        metrics.update(logits, batch)
        arrays += found
        scores += [row[: len(a)].softmax(-1).numpy() for row, a in zip(logits, found, strict=True)]
    outcome = Outcome(scores, SENTENCES, arrays, range(3), LABELS)
    report = kind_of("token-classification").report(outcome, TAGS)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    streamed = metrics.compute()
    assert {name: report["metrics"][name] for name in streamed} == pytest.approx(streamed)
    assert kind_of("token-classification").score(outcome, TAGS) == ("f1", pytest.approx(streamed["f1"]))
    metrics.reset()
    assert metrics.compute()["accuracy"] == 0.0


def outcome_of(view: WordView, items: list[Any], given: list[list[int]], truth: list[list[int]], tags: int) -> Outcome:
    """What a model that gives these tags makes of the items, with 0.7 of certainty."""
    arrays = [view.decode(item) for item in items]
    scores = []
    for array, ids in zip(arrays, given, strict=True):
        row = np.full((len(array), tags), 0.3 / (tags - 1), np.float32)
        for place, word in enumerate(array[:, 2]):
            if 0 <= word < len(ids):
                row[place, ids[word]] = 0.7
        scores.append(row)
    return Outcome(scores, items, arrays, range(len(items)), truth)


def test_report_counts_entities_and_words_that_were_cut(view: WordView) -> None:
    given = [[0, 1, 0, 0, 1], [1, 0], [1, 2, 0, 0, 1, 0]]
    report = kind_of("token-classification").report(outcome_of(view, SENTENCES, given, LABELS, 4), TAGS)
    # "unreals" and "xcats" take all the room but one token: the rest of the third sentence is cut, one animal with it.
    assert report["cut"] == 13 - sum((view.decode(s)[:, 2] >= 0).sum() for s in SENTENCES)
    assert report["cut"] > 0
    assert (report["n"], report["words"]) == (3, 13)
    animal, place = report["classes"]
    assert (animal["name"], animal["support"], animal["predicted"]) == ("animal", 4, 4)
    assert (animal["precision"], animal["recall"]) == (0.75, 0.75)
    assert (place["support"], place["predicted"], place["precision"], place["recall"]) == (1, 0, None, 0.0)
    assert report["metrics"]["f1"] == pytest.approx(2 * 3 / (4 + 5))
    assert report["metrics"]["boundary_f1"] == pytest.approx(2 * 4 / (4 + 5))
    low, high = report["intervals"]["f1"]
    assert 0 <= low <= report["metrics"]["f1"] <= high <= 1


def test_plain_tags_are_counted_word_by_word(tmp_path: Path) -> None:
    view, tags = view_of(tmp_path, 20), ("NOUN", "VERB", "OTHER")
    truth = [[2, 0, 1, 2, 0], [0, 1]]
    given = [[2, 0, 0, 2, 0], [0, 1]]
    outcome = outcome_of(view, SENTENCES[:2], given, truth, 3)
    report = kind_of("token-classification").report(outcome, tags)
    assert report["metrics"]["accuracy"] == pytest.approx(6 / 7)
    assert report["metrics"]["macro_f1"] == pytest.approx((6 / 7 + 2 / 3 + 1) / 3)
    assert [row["support"] for row in report["classes"]] == [3, 2, 2]
    assert kind_of("token-classification").score(outcome, tags) == ("accuracy", pytest.approx(6 / 7))
    assert TokenClassificationHead(4, tags).monitor == ("accuracy", "max")
    rows = kind_of("token-classification").predictions(outcome, tags)
    assert rows[0]["label"] == ["OTHER", "NOUN", "NOUN", "OTHER", "NOUN"]
    assert rows[0]["entities"] == []


def test_words_that_were_cut_are_wrong_where_no_tag_is_outside(view: WordView) -> None:
    sentence, tags = [["unreals", "xcats", "far", "away", "dog", "sat"]], ("A", "B")
    outcome = outcome_of(view, sentence, [[0] * 6], [[0] * 6], 2)
    report = kind_of("token-classification").report(outcome, tags)
    assert report["metrics"]["accuracy"] == pytest.approx(1 - report["cut"] / 6)
    assert kind_of("token-classification").predictions(outcome, tags)[0]["label"][-1] is None


def test_a_plain_text_is_tagged_by_characters(tmp_path: Path) -> None:
    view = view_of(tmp_path, 20)
    text = "the  Cat sat, far   away!"
    given = [0, 1, 2, 0, 0, 3, 0]
    (row,) = kind_of("token-classification").predictions(outcome_of(view, [text], [given], [], 4), TAGS)
    assert row["words"] == ["the", "Cat", "sat", ",", "far", "away", "!"]
    assert row["label"] == ["O", "B-animal", "I-animal", "O", "O", "B-place", "O"]
    assert row["score"] == pytest.approx(0.7)
    animal, place = row["entities"]
    assert (animal["text"], animal["label"], text[animal["start"] : animal["end"]]) == ("Cat sat", "animal", "Cat sat")
    assert text[place["start"] : place["end"]] == place["text"] == "away"


def test_a_list_of_words_is_tagged_by_words(tmp_path: Path) -> None:
    outcome = outcome_of(view_of(tmp_path, 20), SENTENCES[2:], [LABELS[2]], [], 4)
    (row,) = kind_of("token-classification").predictions(outcome, TAGS)
    assert [(e["text"], e["start"], e["end"]) for e in row["entities"]] == [("unreals xcats", 0, 2), ("dog", 4, 5)]
    assert json.dumps(row)


def test_two_models_agree_by_sentence(tmp_path: Path) -> None:
    view = view_of(tmp_path, 20)
    one = outcome_of(view, SENTENCES, LABELS, LABELS, 4)
    other = outcome_of(view, SENTENCES, [LABELS[0], [1, 1], LABELS[2]], LABELS, 4)
    kind = kind_of("token-classification")
    assert kind.agreement(one, one) == 1.0
    assert kind.agreement(one, other) == pytest.approx(2 / 3)


def test_labels_of_other_data_are_matched() -> None:
    kind = kind_of("token-classification")
    assert kind.used(LABELS) == {0, 1, 2, 3}
    assert kind.match([[0, 1], [2]], [2, 0, 1], 4) == [[2, 0], [1]]


def test_it_learns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = SupervisedTask(tiny("bert"), TokenClassificationHead(16, TAGS, dropout=0.1))
    batch, _ = batch_of(view_of(tmp_path, 20), SENTENCES, LABELS)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss, count, _, _ = task(batch)
        (loss / count).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append((loss / count).item())
    assert losses[0] == pytest.approx(np.log(4), abs=0.2)
    assert losses[-1] < 0.2
    metrics = task.metrics()
    metrics.update(task.eval()(batch)[3], batch)
    assert metrics.compute()["f1"] == 1.0


def test_processes_share_their_counts(tmp_path: Path) -> None:
    program = f"""
import sys, torch
from zoo_text.token_head import TokenMetrics
rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method="file://{tmp_path}/meet", rank=rank, world_size=2)
metrics = TokenMetrics({TAGS!r})
metrics.to(torch.device("cpu"))
if rank == 0:  # the other has nothing to evaluate
    logits = torch.eye(4)[torch.tensor([[1, 0, 3]])]
    metrics.update(logits, {{"label": torch.tensor([[1, 0, 1]]), "word": torch.tensor([[0, 1, 2]])}})
print(metrics.compute(), metrics.compute())
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    said = {process.communicate(timeout=120)[0] for process in running}
    once = {"f1": 0.5, "precision": 0.5, "recall": 0.5, "accuracy": 2 / 3}
    assert said == {f"{once} {once}\n"}


def test_bad_input_is_told(view: WordView) -> None:
    with pytest.raises(DataError, match="two tags"):
        TokenClassificationHead(4, ("O",))
    with pytest.raises(PluginError, match="no tokens"):
        TokenClassificationHead(4, TAGS)(Features(pooled=torch.zeros(1, 4)))
    with pytest.raises(DataError, match="no text"):
        view.decode(" \t")
    assert isinstance(view.decode_batch(["", "cat"])[0], DataError)
    with pytest.raises(UsageError, match="no samples"):
        kind_of("token-classification").report(Outcome([]), TAGS)
