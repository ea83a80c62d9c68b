"""Beam search against the sum over all paths, and without the package it takes."""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict

import numpy as np
import pytest

from zoo.beam import beam_texts
from zoo.ctc import collapse, greedy
from zoo.units import read
from zoo_registry.errors import MissingDependency, UsageError

LETTERS = ("a", "-", "|")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def likeliest(log_probs: np.ndarray) -> str:
    """The text of the highest probability summed over its paths."""
    found: dict[str, float] = defaultdict(float)
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = "".join(LETTERS[unit] for unit in collapse(np.array(path))[0])
        found[text] += np.exp(sum(log_probs[i, one] for i, one in enumerate(path)))
    return max(found, key=found.__getitem__)


def test_a_wide_beam_finds_the_likeliest_text() -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    random = np.random.default_rng(0)
    rows = [log_softmax(random.normal(size=(random.integers(1, 6), 4))) for _ in range(40)]
    expected = [likeliest(row) for row in rows]
    assert beam_texts(rows, LETTERS, 100) == expected
    greedily = [read(greedy(np.exp(row))[0], LETTERS) for row in rows]
    assert greedily != expected  # else the search would have nothing to show
    assert beam_texts([row + 3.0 for row in rows[:5]], LETTERS, 100) == expected[:5]  # logits do as well


def test_the_text_that_greedy_decoding_misses() -> None:
    """The example of Graves: no letter is as likely as the blank in any frame, but most paths have one."""
    pytest.importorskip("flashlight.lib.text.decoder")
    row = np.log(np.array([[0.6, 0.4, 1e-9, 1e-9]] * 2))
    assert read(greedy(np.exp(row))[0], LETTERS) == ""
    assert beam_texts([row], LETTERS, 4) == ["a"]
    assert beam_texts([], LETTERS, 4) == []


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="beam is 0"):
        beam_texts([], LETTERS, 0)
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder", None)
    with pytest.raises(MissingDependency) as caught:
        beam_texts([], LETTERS, 4)
    assert "pip install torchaudio flashlight-text" in str(caught.value)
