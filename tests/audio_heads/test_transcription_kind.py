"""What was said, as people see it: texts, error rates, the words that are confused."""

from __future__ import annotations

import numpy as np
import pytest
from torchmetrics.functional.text import char_error_rate, word_error_rate

from zoo.kinds import Outcome, kind_of
from zoo.units import spell
from zoo_registry.errors import UsageError

LETTERS = tuple(" abcdefghijklmnopqrstuvwxyz")
SAID = ["a cat sat", "the dog", "", "a bat sat there", "one more"]
TRUE = ["a cat sat", "the dog ran", "no", "a cat sat", "one more"]


def frames(text: str, sure: float = 0.9) -> np.ndarray:
    """Probabilities that read as the text."""
    path = [0, *(one for unit in spell(text, LETTERS) for one in (unit + 1, unit + 1, 0))]
    rows = np.full((len(path), 1 + len(LETTERS)), (1 - sure) / len(LETTERS))
    rows[np.arange(len(path)), path] = sure
    return rows


def outcome(**fields: object) -> Outcome:
    return Outcome([frames(text) for text in SAID], truth=TRUE, **fields)  # type: ignore[arg-type]


def test_predictions_are_texts() -> None:
    kind = kind_of("transcription")
    rows = kind.predictions(outcome(), LETTERS)
    assert [row["label"] for row in rows] == SAID
    assert rows[0]["score"] == pytest.approx(0.9)
    assert rows[2]["score"] is None  # nothing was said of which anybody could be sure
    kept = Outcome([frames(text).argmax(axis=1).astype(np.float32) for text in SAID])
    assert kind.predictions(kept, LETTERS) == [{"label": text, "score": None, "scores": {}} for text in SAID]
    assert kind.predictions(Outcome(SAID), LETTERS) == kind.predictions(kept, LETTERS)


def test_report_is_torchmetrics_with_intervals() -> None:
    kind = kind_of("transcription")
    report = kind.report(outcome(), LETTERS)
    assert report["metrics"]["wer"] == pytest.approx(float(word_error_rate(SAID, TRUE)))
    assert report["metrics"]["cer"] == pytest.approx(float(char_error_rate(SAID, TRUE)))
    assert report["metrics"]["exact_match"] == 0.4
    assert (report["n"], report["words"]) == (5, 12)
    for name, (low, high) in report["intervals"].items():
        assert low <= report["metrics"][name] <= high
    assert kind.score(outcome(), LETTERS) == ("wer", report["metrics"]["wer"])
    confused = {(one["true"], one["predicted"]): (one["count"], one["share"]) for one in report["confused"]}
    assert confused == {
        ("ran", None): (1, 1.0),
        ("no", None): (1, 1.0),
        ("cat", "bat"): (1, 0.5),
        (None, "there"): (1, None),
    }


def test_padding_of_kept_paths_says_nothing() -> None:
    """A split's paths come in one array, behind whose ends there are zeros."""
    paths = np.zeros((5, 99), np.float32)
    for row, text in enumerate(SAID):
        one = frames(text).argmax(axis=1)
        paths[row, : len(one)] = one
        paths[row, len(one) : len(one) + 2] = -1
    found = kind_of("transcription").report(Outcome(paths, truth=TRUE), LETTERS)
    assert found == kind_of("transcription").report(outcome(), LETTERS)


def test_texts_without_words_and_splits_without_texts() -> None:
    kind = kind_of("transcription")
    silent = Outcome([frames(""), frames("a")], truth=["", ""])
    assert kind.report(silent, LETTERS)["metrics"] == {"wer": None, "cer": None, "exact_match": 0.5}
    assert kind.score(silent, LETTERS) == ("wer", 1.0)
    with pytest.raises(UsageError, match="nothing to measure"):
        kind.report(Outcome([]), LETTERS)


def test_agreement_and_other_data() -> None:
    kind = kind_of("transcription")
    other = Outcome([frames(text, 0.5) for text in [*SAID[:-1], "one moor"]])
    assert kind.agreement(outcome(), other) == 0.8
    assert kind.match(TRUE, [], 0) == TRUE
    assert kind.used(TRUE) == set()
