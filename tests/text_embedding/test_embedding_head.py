"""The contrastive loss and the retrieval metrics, against loops over samples."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from text_toys import INPUT, WORDS, tiny, write_tokenizer
from torch import Tensor

from zoo.kinds import Outcome, kind_of
from zoo.kinds.embedding import CLOSE, figures, ranks
from zoo.padding import pad
from zoo.protocols import Features
from zoo.tasks import SupervisedTask
from zoo_registry.errors import DataError, UsageError
from zoo_text.embedding_head import EmbeddingHead
from zoo_text.groups_view import groups_view
from zoo_text.pipeline import text_pipeline


def unit(*shape: int, seed: int = 0) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def slow_loss(vectors: Tensor, keys: Tensor, scale: float) -> float:
    total = 0.0
    count = len(vectors)
    for i in range(count):
        a, p = keys[i, 0], keys[i, 1]
        there = [float(vectors[i, 0] @ vectors[i, 1]) * scale]
        back = there.copy()
        for j in range(count):
            if j == i:
                continue
            if keys[j, 1] not in (a, p) and keys[j, 0] != a:
                there.append(float(vectors[i, 0] @ vectors[j, 1]) * scale)
            if keys[j, 0] not in (a, p) and keys[j, 1] != p:
                back.append(float(vectors[i, 1] @ vectors[j, 0]) * scale)
        for j in range(count):
            for k in range(2, vectors.shape[1]):
                if keys[j, k] not in (a, p):
                    there.append(float(vectors[i, 0] @ vectors[j, k]) * scale)
        for logits in (there, back):
            total += (math.log(sum(map(math.exp, logits))) - logits[0]) / 2
    return total


@pytest.mark.parametrize("texts", [2, 3, 4])
@pytest.mark.parametrize("distinct", [4, 1000])
def test_loss_is_the_mean_of_both_directions(texts: int, distinct: int) -> None:
    vectors = unit(6, texts, 5)
    keys = torch.randint(0, distinct, (6, texts), generator=torch.Generator().manual_seed(texts))
    head = EmbeddingHead(5)
    loss, count = head.loss(vectors, {"text_key": keys, "label": torch.zeros(6, dtype=torch.int64)})
    assert count.item() == 6
    assert loss.item() == pytest.approx(slow_loss(vectors, keys, 20.0), rel=1e-5)


def test_equal_texts_are_no_negatives() -> None:
    vectors = unit(1, 2, 4).repeat(3, 1, 1)
    labels = {"label": torch.zeros(3, dtype=torch.int64)}
    head = EmbeddingHead(4)
    same, _ = head.loss(vectors, {**labels, "text_key": torch.tensor([[1, 2]] * 3)})
    assert same.item() == pytest.approx(0.0, abs=1e-6)
    other, _ = head.loss(vectors, {**labels, "text_key": torch.arange(6).view(3, 2)})
    assert other.item() == pytest.approx(3 * math.log(3), rel=1e-5)


def test_gradients_are_finite_where_everything_is_the_same_text() -> None:
    vectors = unit(3, 3, 4).requires_grad_()
    loss, _ = EmbeddingHead(4).loss(
        vectors, {"text_key": torch.ones(3, 3, dtype=torch.int64), "label": torch.zeros(3, dtype=torch.int64)}
    )
    loss.backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


def test_scores_become_cosines() -> None:
    vectors, score = unit(5, 2, 4), torch.tensor([0.0, 1.0, 2.5, 5.0, 4.0])
    head = EmbeddingHead(4, lo=0.0, hi=5.0)
    assert head.monitor == ("spearman", "max")
    assert not head.batch_coupled
    loss, count = head.loss(vectors, {"label": score, "text_key": torch.zeros(5, 2, dtype=torch.int64)})
    wanted = sum((float(v[0] @ v[1]) - float(s) / 5) ** 2 for v, s in zip(vectors, score, strict=True))
    assert (loss.item(), count.item()) == (pytest.approx(wanted, rel=1e-5), 5)


def test_bad_input() -> None:
    head = EmbeddingHead(4)
    with pytest.raises(DataError):
        head.loss(unit(3, 1, 4), {"label": torch.zeros(3)})
    with pytest.raises(DataError):
        head.loss(unit(3, 4), {"label": torch.zeros(3)})
    with pytest.raises(UsageError):
        head.loss(unit(3, 2, 4), {"label": torch.zeros(3)})
    with pytest.raises(UsageError):
        EmbeddingHead(4, lo=1.0, hi=1.0)


def test_outputs_are_unit_vectors_and_there_are_no_parameters() -> None:
    head = EmbeddingHead(4)
    out = head(Features(pooled=3 * torch.ones(2, 3, 4)))
    assert torch.allclose(out.norm(dim=-1), torch.ones(2, 3))
    assert not head.state_dict()
    assert head.decode(out)["scores"].shape == (2, 3, 4)


def slow_rank(vectors: np.ndarray, keys: np.ndarray, i: int) -> int:
    own = vectors[i, 0] @ vectors[i, 1]
    rank = 1
    for j in range(len(vectors)):
        if j == i or keys[j, 1] in (keys[i, 0], keys[i, 1]) or keys[j, 0] == keys[i, 0]:
            continue
        rank += vectors[i, 0] @ vectors[j, 1] >= own
    return rank


@pytest.mark.parametrize("distinct", [6, 10_000])
def test_ranks_against_a_loop(distinct: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.kinds.embedding.CHUNK", 7)
    vectors = unit(30, 2, 3, seed=4).double().numpy()
    keys = np.random.default_rng(0).integers(0, distinct, (30, 2))
    found = ranks(vectors, keys)
    assert found.tolist() == [slow_rank(vectors, keys, i) for i in range(30)]
    metrics = figures(vectors, keys, np.zeros(30, np.int64))
    assert metrics["recall_at_5"] == pytest.approx(np.mean(found <= 5))
    assert metrics["mrr"] == pytest.approx(np.mean(1 / found))


def test_a_collapsed_model_finds_nothing() -> None:
    vectors = unit(1, 1, 4).expand(20, 2, 4).numpy()
    assert figures(vectors, np.arange(40).reshape(20, 2), np.zeros(20, np.int64))["recall_at_10"] == 0.0


def test_correlations_are_those_of_torchmetrics() -> None:
    from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef

    vectors = unit(25, 2, 4, seed=2)
    score = torch.randint(0, 4, (25,), generator=torch.Generator().manual_seed(1)).double()
    cosine = (vectors[:, 0] * vectors[:, 1]).sum(-1).double()
    found = figures(vectors.numpy(), np.zeros((25, 2), np.int64), score.numpy())
    assert found["pearson"] == pytest.approx(float(pearson_corrcoef(cosine, score)), abs=1e-6)
    assert found["spearman"] == pytest.approx(float(spearman_corrcoef(cosine, score)), abs=1e-6)


def test_streaming_metrics_and_report_agree() -> None:
    vectors = unit(12, 2, 4, seed=5)
    texts = [(f"a{i}", f"p{i % 9}") for i in range(12)]
    ids = {text: i for i, text in enumerate({t: 0 for pair in texts for t in pair})}
    keys = torch.tensor([[ids[t] for t in pair] for pair in texts])
    metrics = EmbeddingHead(4).metrics().to(torch.device("cpu"))
    metrics.reset()
    for rows in (slice(0, 5), slice(5, 12)):
        metrics.update(
            vectors[rows], {"text_key": keys[rows], "label": torch.zeros(len(vectors[rows]), dtype=torch.int64)}
        )
    outcome = Outcome(scores=list(vectors.numpy()), items=texts, truth=[0] * 12)
    kind = kind_of("embedding")
    report = kind.report(outcome, ())
    assert report["metrics"] == pytest.approx(metrics.compute())
    assert kind.score(outcome, ())[1] == pytest.approx(report["metrics"]["recall_at_1"])
    for name, value in report["metrics"].items():
        low, high = report["intervals"][name]
        assert low - 1e-9 <= value <= high + 1e-9


def test_report_of_scores_and_of_nothing() -> None:
    kind = kind_of("embedding")
    vectors = unit(12, 2, 4, seed=5).numpy()
    report = kind.report(Outcome(scores=vectors, items=[("a", "b")] * 12, truth=list(np.linspace(0, 5, 12))), ())
    assert set(report["metrics"]) == set(report["intervals"]) == {"spearman", "pearson"}
    with pytest.raises(UsageError):
        kind.report(Outcome(scores=[]), ())
    with pytest.raises(UsageError):
        kind.report(Outcome(scores=vectors[:, 0], items=["a"] * 12), ())


def test_agreement_looks_at_what_is_found_first() -> None:
    kind = kind_of("embedding")
    vectors = unit(40, 2, 6, seed=7).numpy()
    one = Outcome(scores=vectors, items=[("a", "b")] * 40)
    assert kind.agreement(one, Outcome(scores=vectors + CLOSE / 100)) == 1.0
    assert kind.agreement(one, Outcome(scores=unit(40, 2, 6, seed=8).numpy())) < 0.5
    singles = Outcome(scores=list(vectors[:, 0]))
    assert kind.agreement(singles, Outcome(scores=list(vectors[:, :1]))) == 1.0


def test_predictions_of_a_text_and_of_a_pair() -> None:
    kind = kind_of("embedding")
    vectors = unit(1, 2, 3).numpy()
    (single,) = kind.predictions(Outcome(scores=[vectors[0, :1]]), ())
    assert single == {"label": None, "score": None, "scores": {}, "embedding": vectors[0, 0].tolist()}
    (pair,) = kind.predictions(Outcome(scores=[vectors[0]]), ())
    assert pair["score"] == pytest.approx(float(vectors[0, 0] @ vectors[0, 1]))
    assert np.shape(pair["embedding"]) == (2, 3)


def test_a_tiny_encoder_learns_which_texts_belong_together(tmp_path: Path) -> None:
    view = groups_view(text_pipeline(dataclasses.replace(INPUT, assets=str(write_tokenizer(tmp_path)))))
    items = [(f"the {WORDS[i]}", f"{WORDS[i]} far away", f"a {WORDS[i + 1]}") for i in range(12)]
    padded, lengths = pad([view.decode(item) for item in items])
    batch = view.prepare({"tokens": torch.from_numpy(padded), "length": torch.from_numpy(lengths)})
    batch["label"] = torch.zeros(len(items), dtype=torch.int64)
    torch.manual_seed(0)
    task = SupervisedTask(tiny("bert"), EmbeddingHead(16)).train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss, count, _, _ = task(batch)
        losses.append((loss / count).item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]
    # No parameters: the head's group is empty, and what remains is the backbone's.
    assert task.layer_groups()[-1] == ("head", [])
