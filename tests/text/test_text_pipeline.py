"""Texts to tokens: special tokens, words, cuts, bad items; and what a batch of them becomes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from hypothesis import given
from hypothesis import strategies as st
from text_toys import SPECIALS, WORDS, tiny, write_byte_level, write_tokenizer

from zoo import texts
from zoo.padding import pad
from zoo.protocols import RAGGED, Portable
from zoo_registry.errors import DataError, PluginError, UsageError, WeightsError
from zoo_registry.specs import InputSpec
from zoo_text.pipeline import TextPipeline, text_pipeline

PAD, UNK, CLS, SEP, MASK = range(5)


def ids(text: str) -> list[int]:
    return [[*SPECIALS, *WORDS].index(word) for word in text.split()]


def pipeline(folder: Path, length: int = 12) -> TextPipeline:
    return text_pipeline(InputSpec(modality="text", size=(length,), assets=str(folder)))


def test_a_sentencepiece_model_is_converted(tmp_path: Path) -> None:
    """DeBERTa-v3 is published with ``spm.model`` alone."""
    words = ["good", "bad", "film", "story", "a", "the", "dull", "charming"]
    texts = [f"{a} {b} {c}" for a in words for b in words for c in words]
    kinds = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    pieces = {f"{kind}_piece": piece for kind, piece in kinds.items()}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(tmp_path / "spm"),
        vocab_size=30,
        minloglevel=2,
        **{f"{kind}_id": number for number, kind in enumerate(kinds)},
        **pieces,
    )
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deberta-v2"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    made = pipeline(tmp_path, 64)
    published = sentencepiece.SentencePieceProcessor(str(tmp_path / "spm.model"))
    for text in ("a good film", "the charmingly bad stories", "dull"):
        assert made.decode(text)[:, 0].tolist() == [1, *published.encode(text), 2]
    assert made.special.mask is not None


def test_a_text(folder: Path) -> None:
    got = pipeline(folder).decode("The cats sat")
    assert got.dtype == np.int32
    assert got[:, 0].tolist() == [CLS, *ids("the cat ##s sat"), SEP]
    assert got[:, 1].tolist() == [0] * 6
    assert got[:, 2].tolist() == [-1, 0, 1, -1, 2, -1]


def test_a_pair(folder: Path) -> None:
    for item in (("the cat", "a dog ran"), {"id": "1", "question": "the cat", "context": "a dog ran"}):
        got = pipeline(folder).decode(item)
        assert got[:, 0].tolist() == [CLS, *ids("the cat"), SEP, *ids("a dog ran"), SEP]
        assert got[:, 1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
        assert got[:, 2].tolist() == [-1, 0, 1, -1, 0, 1, 2, -1]


def test_words_keep_their_place(folder: Path) -> None:
    got = pipeline(folder).decode(["unreal", " ", "cats", "Mat"])
    assert got[:, 0].tolist() == [CLS, *ids("un ##real cat ##s mat"), SEP]
    assert got[:, 2].tolist() == [-1, 0, -1, 2, -1, 3, -1]


def test_long_texts_are_cut_and_keep_their_special_tokens(folder: Path) -> None:
    made = pipeline(folder, 6)
    items: list[Any] = ["a b c d", "a b c d e f", ("a b c d", "e"), ("a", "b c"), ["a", "b", "c", "d", "e"], 3, " "]
    arrays = made.decode_batch(items)
    assert [array[:, 0].tolist() for array in arrays[:5] if isinstance(array, np.ndarray)] == [
        [CLS, *ids("a b c d"), SEP],
        [CLS, *ids("a b c d"), SEP],
        [CLS, *ids("a b"), SEP, *ids("e"), SEP],
        [CLS, *ids("a"), SEP, *ids("b c"), SEP],
        [CLS, *ids("a b c d"), SEP],
    ]
    assert made.count_cut(items) == 3


@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 40))
def test_the_longer_of_a_pair_gives_way(first: int, second: int, room: int) -> None:
    wanted = [first, second]  # slowly: one token at a time from the longer, then from what was the shorter
    while sum(wanted) > room:
        longer = wanted[0] > wanted[1] if wanted[0] != wanted[1] else first <= second
        wanted[0 if longer else 1] -= 1
    assert texts.shares([first, second], room) == wanted


@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.tuples(st.text(max_size=9), st.text(max_size=9)),
            st.lists(st.text(max_size=6), max_size=5),
        ),
        max_size=6,
    )
)
def test_batches_are_their_items(tmp_path_factory: pytest.TempPathFactory, items: list[Any]) -> None:
    made = pipeline(write_tokenizer(tmp_path_factory.mktemp("t")), 9)
    for item, got in zip(items, made.decode_batch(items), strict=True):
        if isinstance(got, Exception):
            with pytest.raises(DataError):
                made.decode(item)
        else:
            assert isinstance(got, np.ndarray)
            assert got.shape[1] == 3
            assert 3 <= len(got) <= 9
            np.testing.assert_array_equal(got, made.decode(item))


@pytest.mark.parametrize(
    "item",
    [
        "",
        " \n\t",
        "\ud800",
        None,
        3,
        b"the",
        [],
        ["", " "],
        ("a", ""),
        ("a", "b", "c"),
        ["a", 3],
        ("a", None),
        {"question": "a"},
        {"question": "a", "context": ""},
    ],
)
def test_what_is_no_text(folder: Path, item: Any) -> None:
    made = pipeline(folder)
    with pytest.raises(DataError):
        made.decode(item)
    good, bad = made.decode_batch(["the cat", item])
    assert isinstance(good, np.ndarray)
    assert isinstance(bad, DataError)


def test_byte_level_tokenizers_add_nothing(tmp_path: Path) -> None:
    made = pipeline(write_byte_level(tmp_path), 20)
    got = made.decode("ab cd")
    assert len(got) == 5
    assert got[:, 2].tolist() == [0, -1, 1, -1, -1]
    words = made.decode(["ab", "cd"])  # the space tells where a word begins
    np.testing.assert_array_equal(words, got)
    assert made.special.eos == made.special.bos == 256
    assert (made.special.pad, made.special.filler) == (None, 256)


def test_offsets_are_places_in_the_text(folder: Path) -> None:
    text = "The  cats, unreal"
    tokens, spans = pipeline(folder, 4).tokens.offsets(text)
    assert tokens.tolist() == [*ids("the cat ##s"), UNK, *ids("un ##real")]
    assert [text[a:b] for a, b in spans] == ["The", "cat", "s", ",", "un", "real"]


def test_a_batch(folder: Path) -> None:
    made = pipeline(folder)
    assert (made.shape, made.input_name, made.modality) == ((RAGGED, 3), "tokens", "text")
    arrays = [made.decode(item) for item in ("the cat", ("a", "cats ran far"))]
    padded, length = pad(arrays)
    batch = {"tokens": torch.from_numpy(padded), "length": torch.from_numpy(length), "label": torch.tensor([1, 0])}
    got = made.prepare(batch)
    assert set(got) == {"input_ids", "attention_mask", "token_type_ids", "word", "label"}
    assert got["input_ids"].tolist() == [
        [CLS, *ids("the cat"), SEP, PAD, PAD, PAD, PAD],
        [CLS, *ids("a"), SEP, *ids("cat ##s ran far"), SEP],
    ]
    assert got["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0, 0, 0], [1] * 8]
    assert got["token_type_ids"].tolist() == [[0] * 8, [0, 0, 0, 1, 1, 1, 1, 1]]
    assert got["word"].tolist() == [[-1, 0, 1, -1, -1, -1, -1, -1], [-1, 0, -1, 0, -1, 1, 2, -1]]
    assert all(tensor.dtype == torch.int64 for tensor in got.values())
    plain = made.tokens.model_inputs(arrays)
    assert all(np.array_equal(plain[name], got[name].numpy()) for name in plain)


def test_a_folder_and_a_description_repeat_it(folder: Path, tmp_path: Path) -> None:
    made = pipeline(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    assert isinstance(made, Portable)
    made.save_assets(tmp_path / "run")
    assert (tmp_path / "run" / "config.json").is_file()
    assert pipeline(tmp_path / "run").key == made.key != pipeline(folder, 11).key
    again = texts.from_description(json.loads(json.dumps(made.describe())), tmp_path / "run")
    for item in ("the cats", ("a", "b")):
        np.testing.assert_array_equal(again.encode(item), made.decode(item))
    with pytest.raises(WeightsError, match="not the tokenizer"):
        texts.from_description(made.describe(), write_byte_level(tmp_path / "other"))
    with pytest.raises(DataError, match="not complete"):
        texts.from_description({"kind": "text"}, folder)
    with pytest.raises(DataError, match="version 99"):
        texts.from_description({**made.describe(), "version": 99}, folder)


def test_special_tokens_go_by_the_files_beside(folder: Path) -> None:
    assert dataclasses.asdict(pipeline(folder).special) == {
        "pad": PAD,
        "unk": UNK,
        "cls": CLS,
        "sep": SEP,
        "mask": MASK,
        "bos": None,
        "eos": None,
    }
    (folder / "special_tokens_map.json").write_text('{"eos_token": "x", "pad_token": {"content": "y"}}')
    (folder / "tokenizer_config.json").write_text('{"eos_token": "z"}')
    special = pipeline(folder).special
    assert [special.pad, special.eos] == ids("y z")
    (folder / "tokenizer_config.json").write_text("no JSON")
    assert pipeline(folder).special.eos == ids("x")[0]


def test_unusable_contracts(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PluginError):
        text_pipeline(InputSpec(modality="image", size=(3, 2, 2)))
    with pytest.raises(UsageError, match="no room beside 2 special tokens"):
        pipeline(folder, 2)
    with pytest.raises(UsageError, match="no room for pairs"):
        pipeline(folder, 4).decode_batch([("a", "b")])
    for assets in ("", str(tmp_path)):
        with pytest.raises(WeightsError, match="no tokenizer"):
            text_pipeline(InputSpec(modality="text", size=(8,), assets=assets))
    for content in ("", "{}", "[1]", '{"version": "1.0"}', "\x00"):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(WeightsError, match="damaged or no tokenizer"):
            pipeline(tmp_path)


def test_older_tokenizer_files_are_converted_once(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, *WORDS]) + "\n")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    made = pipeline(tmp_path)
    assert made.decode("The cats")[:, 0].tolist() == [CLS, *ids("the cat ##s"), SEP]
    assert not (tmp_path / "tokenizer.json").exists()
    made.save_assets(tmp_path / "run")
    assert pipeline(tmp_path / "run").key == made.key == pipeline(tmp_path).key


def test_older_files_that_make_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(WeightsError, match="cannot be read"):
        pipeline(tmp_path)


def test_a_tokenizer_of_other_weights_is_noticed(folder: Path, tmp_path: Path) -> None:
    pipeline(folder).check_backbone(tiny("bert"))
    many = write_tokenizer(tmp_path / "many", [f"w{i}" for i in range(60)])
    with pytest.raises(WeightsError, match="65 tokens, but tiny_bert with these weights knows 50"):
        pipeline(many).check_backbone(tiny("bert"))
