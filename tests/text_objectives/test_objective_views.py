"""What the objectives' views make of texts, compared with loops over positions; per sample, whatever the batch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from objective_toys import TEXTS, batch_of, config, draws, pipeline, take
from torch import Tensor

from zoo.protocols import IGNORE, Streams
from zoo_registry.errors import UsageError
from zoo_text.objectives.causal import causal_view
from zoo_text.objectives.denoise import DenoiseOptions, denoise_view, span_lengths, start_probability
from zoo_text.objectives.mlm import choose_groups, mlm_view
from zoo_text.objectives.rtd import rtd_view

VIEWS = {"mlm": mlm_view, "causal": causal_view, "rtd": rtd_view, "denoise": denoise_view}
TIMES = {"mlm": ("masked", "target"), "rtd": ("masked", "target", "noise")}


def cut(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    return tensor[tuple(slice(0, size) for size in like.shape)]


@pytest.mark.parametrize("name", VIEWS)
def test_a_sample_is_corrupted_alike_in_every_batch(name: str) -> None:
    made = pipeline()
    view = VIEWS[name](made, config())
    batch = batch_of(made, TEXTS[:24])
    whole, prepared = view.augment(batch, draws(batch)), view.prepare(batch)
    for rows in (slice(0, 1), slice(1, 4), slice(4, 24)):
        piece = take(batch, rows)
        for expected, found in ((whole, view.augment(piece, draws(piece))), (prepared, view.prepare(piece))):
            assert expected.keys() == found.keys()
            for key, tensor in found.items():
                if key in TIMES.get(name, ()):  # as many places as the batch's longest text may need
                    real = found["target"] != IGNORE
                    assert torch.equal(expected["target"][rows].ne(IGNORE).sum(1), real.sum(1))
                    assert torch.equal(cut(key, expected[key][rows], tensor)[real], tensor[real])
                else:
                    assert torch.equal(cut(key, expected[key][rows], tensor), tensor), key


@pytest.mark.parametrize("name", ["mlm", "rtd", "denoise"])
def test_epochs_differ_and_evaluation_does_not(name: str) -> None:
    made = pipeline()
    view = VIEWS[name](made, config())
    batch = batch_of(made, TEXTS)
    inputs = [view.augment(batch, draws(batch, epoch))["input_ids"] for epoch in (0, 1)]
    assert not torch.equal(*inputs)
    assert torch.equal(view.prepare(batch)["input_ids"], view.prepare(batch)["input_ids"])
    assert not torch.equal(view.prepare(batch)["input_ids"], inputs[0])


@pytest.mark.parametrize("name", VIEWS)
def test_packed_blocks_and_bare_ids(name: str) -> None:
    made = pipeline()
    view = VIEWS[name](made, config())
    framed = batch_of(made, TEXTS[:4])
    bare = {**framed, "tokens": framed["tokens"][..., 0]}
    for key, tensor in view.prepare(framed).items():
        assert torch.equal(view.prepare(bare)[key], tensor), key
    block = {"tokens": torch.randint(5, made.tokens.vocabulary, (3, 20), dtype=torch.int32), "index": torch.arange(3)}
    found = view.prepare(block)
    assert found["input_ids"].shape == (3, 20)
    assert found["input_ids"].dtype == torch.int64
    assert "tokens" not in found


def test_everything_else_is_the_pipelines_own() -> None:
    made = pipeline()
    view: Any = mlm_view(made, config())
    assert view.key == made.key
    assert view.shape == made.shape
    assert isinstance(view, Streams)
    assert view.decode("the harbour").tolist() == made.decode("the harbour").tolist()


def chosen_slowly(ids: list[int], words: list[int], special: set[int], uniform: list[float], share: float) -> set[int]:
    """Whole words in the order of their number until the budget is reached."""
    places = [place for place, token in enumerate(ids) if token not in special]
    if not places:
        return set()
    budget = max(1, math.floor(len(places) * share + 0.5))
    members: dict[int, list[int]] = {}
    for place in places:
        members.setdefault(words[place], []).append(place)
    found: set[int] = set()
    for word in sorted(members, key=lambda word: uniform[word]):
        if len(found) >= budget:
            break
        found.update(members[word])
    return found


@pytest.mark.parametrize("whole", [False, True])
def test_masking_equals_a_loop(whole: bool) -> None:
    made = pipeline()
    view = mlm_view(made, config(whole_word=whole, share=0.3))
    batch = batch_of(made, TEXTS)
    plain, found = made.prepare(batch), view.augment(batch, draws(batch))
    special, mask = set(made.special.ids), made.special.mask
    length = plain["input_ids"].shape[1]
    numbers = {name: draws(batch).uniform(f"mlm {name}", length) for name in ("choice", "kind", "token")}
    ordinary = [token for token in range(made.tokens.vocabulary) if token not in special]
    kinds = set()
    for row in range(len(TEXTS)):
        real = int(batch["length"][row])
        ids = plain["input_ids"][row, :real].tolist()
        words, word = list(range(real)), -1
        if whole:
            for place in range(real):
                word += int(plain["word"][row, place] >= 0)
                words[place] = max(word, 0)
        chosen = chosen_slowly(ids, words, special, numbers["choice"][row].tolist(), 0.3)
        expected = list(ids)
        for place in chosen:
            kind = float(numbers["kind"][row, place])
            kinds.add("mask" if kind < 0.8 else "other" if kind < 0.9 else "same")
            if kind < 0.8:
                expected[place] = mask
            elif kind < 0.9:
                expected[place] = ordinary[int(float(numbers["token"][row, place]) * len(ordinary))]
        assert found["input_ids"][row, :real].tolist() == expected
        assert torch.equal(found["input_ids"][row, real:], plain["input_ids"][row, real:])
        told = {
            int(place): int(token)
            for place, token in zip(found["masked"][row], found["target"][row], strict=True)
            if token != IGNORE
        }
        assert told == {place: ids[place] for place in chosen}
        assert chosen
    assert kinds == {"mask", "other", "same"}


def test_shares_of_masking() -> None:
    made = pipeline(length=128)
    view = mlm_view(made, config())
    block = {"tokens": torch.randint(5, made.tokens.vocabulary, (400, 128)), "index": torch.arange(400)}
    found = view.augment(block, draws(block))
    real = found["target"] != IGNORE
    assert torch.equal(real.sum(1), torch.full((400,), 19))  # 0.15 * 128
    there = found["input_ids"].gather(1, found["masked"])[real]
    masked, same = (
        float((there == made.special.mask).float().mean()),
        float((there == found["target"][real]).float().mean()),
    )
    assert abs(masked - 0.8) < 0.02
    assert 0.08 < same < 0.14


def test_texts_of_special_tokens_alone_have_nothing_to_guess() -> None:
    made = pipeline()
    batch = {"tokens": torch.tensor([[2, 1, 3]]), "index": torch.arange(1)}
    for name in ("mlm", "rtd"):
        found = VIEWS[name](made, config()).prepare(batch)
        assert found["target"].eq(IGNORE).all()
        assert found["input_ids"].tolist() == [[2, 1, 3]]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_choosing_groups_equals_a_loop(data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 12))
    starts = data.draw(st.lists(st.booleans(), min_size=length, max_size=length))
    eligible = data.draw(st.lists(st.booleans(), min_size=length, max_size=length))
    uniform = data.draw(st.permutations([place / length for place in range(length)]))
    words = [max(sum(starts[: place + 1]) - 1, 0) for place in range(length)]
    found = choose_groups(torch.tensor([words]), torch.tensor([eligible]), torch.tensor([uniform]), 0.25)
    ids = [0 if real else 1 for real in eligible]
    assert set(found[0].nonzero().flatten().tolist()) == chosen_slowly(ids, words, {1}, list(uniform), 0.25)


def test_replaced_token_view() -> None:
    made = pipeline()
    view, batch = rtd_view(made, config(share=0.2)), batch_of(made, TEXTS)
    plain, found = made.prepare(batch), view.augment(batch, draws(batch))
    assert torch.equal(found["original"], plain["input_ids"])
    for row in range(len(TEXTS)):
        changed = (found["input_ids"][row] != found["original"][row]).nonzero().flatten().tolist()
        real = found["target"][row] != IGNORE
        assert found["masked"][row][real].tolist() == changed
        assert found["input_ids"][row, changed].eq(made.special.mask).all()
        assert found["target"][row][real].tolist() == found["original"][row, changed].tolist()
    assert found["noise"].shape == found["masked"].shape


def denoised_slowly(made: Any, ids: list[int], numbers: dict[str, list[float]], options: DenoiseOptions) -> list[int]:
    special, begin, table = set(made.special.ids), start_probability(options), span_lengths(options.span).tolist()
    covered_until, made_ids, in_span = 0, [], False
    for place, token in enumerate(ids):
        if token in special:
            made_ids.append(token)
            in_span = False
            continue
        if numbers["start"][place] < begin:
            extra = sum(1 for total in table if total <= numbers["length"][place])
            covered_until = max(covered_until, place + 1 + extra)
        if place < covered_until:
            if not in_span:
                made_ids.append(made.special.mask)
            in_span = True
        else:
            in_span = False
            if place == 0 or numbers["delete"][place] >= options.delete:
                made_ids.append(token)
    return made_ids


def test_denoising_equals_a_loop() -> None:
    made = pipeline()
    view, batch = denoise_view(made, config(share=0.4, delete=0.2)), batch_of(made, TEXTS)
    plain, found = made.prepare(batch), view.augment(batch, draws(batch))
    length = plain["input_ids"].shape[1]
    numbers = {name: draws(batch).uniform(f"denoise {name}", length) for name in ("start", "length", "delete")}
    for row in range(len(TEXTS)):
        ids = plain["input_ids"][row, : int(batch["length"][row])].tolist()
        of_row = {name: values[row].tolist() for name, values in numbers.items()}
        expected = denoised_slowly(made, ids, of_row, view.options)
        left = found["attention_mask"][row].bool()
        assert found["input_ids"][row][left].tolist() == expected
        assert left.tolist() == [True] * len(expected) + [False] * (length - len(expected))
        assert found["target"][row].tolist() == ids + [IGNORE] * (length - len(ids))


def test_share_covered_by_spans() -> None:
    made = pipeline()
    for share, span in ((0.3, 3.0), (0.15, 1.0), (0.5, 6.0)):
        view = denoise_view(made, config(share=share, span=span, delete=0.0))
        block = {"tokens": torch.randint(5, made.tokens.vocabulary, (200, 256)), "index": torch.arange(200)}
        found = view.augment(block, draws(block))
        spans = found["input_ids"].eq(made.special.mask).sum()
        covered = 200 * 256 - int(found["attention_mask"].sum()) + int(spans)
        assert abs(covered / (200 * 256) - share) < 0.04, (share, span)


def test_next_tokens() -> None:
    made = pipeline()
    view, batch = causal_view(made, config()), batch_of(made, TEXTS[:4])
    found = view.augment(batch, draws(batch))
    for row in range(4):
        real = int(batch["length"][row])
        ids = found["input_ids"][row, :real].tolist()
        rest = found["target"].shape[1] - real + 1
        assert found["target"][row].tolist() == ids[1:] + [IGNORE] * rest


def test_bad_settings() -> None:
    made, causal = pipeline(), pipeline(vocabulary=300, kind="bytes")
    for name in ("mlm", "rtd", "denoise"):
        with pytest.raises(UsageError, match="mask token"):
            VIEWS[name](causal, config())
        with pytest.raises(UsageError, match="no setting 'shares'"):
            VIEWS[name](made, config(shares=0.1))
        with pytest.raises(UsageError, match="share"):
            VIEWS[name](made, config(share=1.5))
    with pytest.raises(UsageError, match="span"):
        denoise_view(made, config(span=0.5))
    with pytest.raises(UsageError, match="generator"):
        rtd_view(made, config(width=2.0))
    assert isinstance(causal_view(causal, config()).prepare(batch_of(causal, TEXTS[:2]))["target"], Tensor)
