"""Tokenizers trained on the user's text: repeatable, of a sensible size, with every item's texts."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from objective_toys import TEXTS, folder_bytes

from zoo.paths import cache_dir
from zoo.texts import load_tokenizer
from zoo_registry.errors import DataError, UsageError, WeightsError
from zoo_registry.specs import InputSpec
from zoo_text.tokenizer_training import (
    SMALLEST,
    fit_causal_tokenizer,
    fit_tokenizer,
    texts_of,
    vocabulary_of,
)

INPUT = InputSpec(modality="text", size=(64,))


@pytest.mark.parametrize("kind", ["wordpiece", "bytes"])
def test_equal_texts_give_equal_files(kind: str) -> None:
    made = []
    for _ in range(4):  # hash tables are seeded anew each time
        made.append(folder_bytes(fit_tokenizer(INPUT, TEXTS, kind=kind, vocabulary=300).assets))
        shutil.rmtree(cache_dir())
    assert made[0].keys() == {"tokenizer.json", "tokenizer_config.json"}
    assert all(one == made[0] for one in made)


def test_other_texts_or_settings_go_elsewhere() -> None:
    folders = {
        fit_tokenizer(INPUT, TEXTS).assets,
        fit_tokenizer(INPUT, [*TEXTS, "more"]).assets,
        fit_tokenizer(INPUT, TEXTS, vocabulary=70).assets,
        fit_tokenizer(INPUT, TEXTS, kind="bytes").assets,
    }
    assert len(folders) == 4


def test_a_second_time_nothing_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    first = fit_tokenizer(INPUT, TEXTS)
    assert "training" in capsys.readouterr().err
    assert fit_tokenizer(INPUT, TEXTS) == first
    assert "training" not in capsys.readouterr().err


def test_one_text_and_two_are_framed_as_in_bert() -> None:
    tokenizer = load_tokenizer(fit_tokenizer(INPUT, TEXTS).assets)
    one, two = tokenizer.encode("The HARBOUR follows"), tokenizer.encode("a violin", "the kitchen")
    assert one.tokens[0] == "[CLS]"
    assert one.tokens[-1] == "[SEP]"
    assert tokenizer.decode(one.ids) == "the harbour follows"
    assert two.tokens.count("[SEP]") == 2
    assert sorted(set(two.type_ids)) == [0, 1]


def test_pieces_are_no_special_tokens() -> None:
    tokenizer = load_tokenizer(fit_tokenizer(INPUT, TEXTS).assets)
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    assert added == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert [tokenizer.token_to_id(f"[{name}]") for name in ("PAD", "UNK", "CLS", "SEP", "MASK")] == [0, 1, 2, 3, 4]


def test_bytes_keep_every_character_and_add_none() -> None:
    tokenizer = load_tokenizer(fit_causal_tokenizer(INPUT, TEXTS).assets)
    text = "Ünseen  Text\twith 漢字 and 🎻"
    encoded = tokenizer.encode(text)
    assert tokenizer.decode(encoded.ids) == text
    assert tokenizer.token_to_id("<|endoftext|>") == 0
    assert 0 not in encoded.ids


def test_special_names_are_written_beside_it() -> None:
    names = json.loads(Path(fit_tokenizer(INPUT, TEXTS).assets, "tokenizer_config.json").read_text())
    assert names["mask_token"] == "[MASK]"
    assert names["model_max_length"] == 64
    causal = json.loads(Path(fit_causal_tokenizer(INPUT, TEXTS).assets, "tokenizer_config.json").read_text())
    assert causal["eos_token"] == causal["bos_token"] == "<|endoftext|>"


def test_size_follows_the_distinct_words() -> None:
    words = [f"{a}{b}{c}" for a in "bcdfghjklmnp" for b in "aeiou" for c in "bcdfghjklmnpqrstvwxz" for _ in "12"]
    texts = [" ".join(words[i : i + 8]) + f" n{i}" for i in range(0, len(words), 4)]
    distinct = len({word for text in texts for word in text.split()})
    assert distinct // 3 < SMALLEST
    assert vocabulary_of(fit_tokenizer(INPUT, texts)) <= SMALLEST
    assert vocabulary_of(fit_tokenizer(INPUT, texts, vocabulary=200)) == 200


def test_all_kinds_of_items() -> None:
    assert list(texts_of(("a b", "c"))) == ["a b", "c"]
    assert list(texts_of(["EU", "rejects"])) == ["EU rejects"]
    assert list(texts_of({"id": "7", "question": "who?", "context": "it was"})) == ["who?", "it was"]
    items = [("left one", "right one"), ["some", "words"], {"id": "1", "question": "why", "context": "because"}, "text"]
    flat = ["left one", "right one", "some words", "why", "because", "text"]
    assert fit_tokenizer(INPUT, items).assets == fit_tokenizer(INPUT, flat).assets


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.sampled_from(["wordpiece", "bytes"]))
def test_any_text_trains_or_is_refused(texts: list[str], kind: str) -> None:
    texts = [*texts, "\ud800 lone"]
    tokenizer = load_tokenizer(fit_tokenizer(INPUT, texts, kind=kind).assets)
    for text in texts:
        assert len(tokenizer.encode(text.encode("utf-8", "replace").decode()).ids) < 1000


def test_texts_are_streamed() -> None:
    class Many:
        def __iter__(self) -> Iterator[str]:
            return (f"{TEXTS[i % 48]} " * 20 for i in range(1_500))  # 1.5 MB

    tracemalloc.start()
    fit_tokenizer(INPUT, Many())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


def test_bad_input() -> None:
    with pytest.raises(DataError):
        fit_tokenizer(INPUT, ["", "  "])
    with pytest.raises(DataError):
        fit_tokenizer(INPUT, [])
    with pytest.raises(UsageError, match="kind"):
        fit_tokenizer(INPUT, TEXTS, kind="syllables")
    with pytest.raises(UsageError, match="too small"):
        fit_tokenizer(INPUT, TEXTS, vocabulary=3)
    with pytest.raises(ValueError, match="twice"):
        fit_tokenizer(INPUT, iter(TEXTS))
    with pytest.raises(UsageError, match="tokenizer"):
        vocabulary_of(INPUT)
    with pytest.raises(WeightsError):
        vocabulary_of(InputSpec(modality="text", assets="/nowhere"))


def test_what_a_crash_left_is_replaced() -> None:
    made = fit_tokenizer(INPUT, TEXTS)
    Path(made.assets, "tokenizer.json").unlink()
    assert fit_tokenizer(INPUT, TEXTS) == made
    assert Path(made.assets, "tokenizer.json").is_file()
    assert not list(Path(made.assets).parent.glob(".*"))
