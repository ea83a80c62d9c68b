"""The objectives' losses against loops over positions, exact accumulation, and what they leave behind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from objective_toys import TEXTS, TinyCausal, backbone, batch_of, config, draws, pipeline, take
from torch import Tensor

from zoo.capabilities import require
from zoo.engine.checkpoint import Checkpoints
from zoo.engine.config import EngineConfig
from zoo.engine.logger import Logger
from zoo.engine.loop import FitResult, fit
from zoo.engine.optim import layerwise_groups
from zoo.engine.runtime import Runtime
from zoo.objectives import token_scores
from zoo.protocols import IGNORE, Batch
from zoo_registry.builders import load_builder
from zoo_registry.errors import UsageError
from zoo_text.objectives.causal import build_causal, causal_view
from zoo_text.objectives.denoise import build_denoise, denoise_view
from zoo_text.objectives.mlm import build_mlm, mlm_view
from zoo_text.objectives.rtd import RtdMetrics, build_rtd, rtd_view, sample
from zoo_text.objectives.scores import LARGEST, TokenMetrics
from zoo_text.objectives_list import OBJECTIVES
from zoo_text.pipeline import TextPipeline

NAMES = ("mlm", "causal", "rtd", "denoise")
BUILDERS = {"mlm": build_mlm, "causal": build_causal, "rtd": build_rtd, "denoise": build_denoise}
VIEWS = {"mlm": mlm_view, "causal": causal_view, "rtd": rtd_view, "denoise": denoise_view}
PLAIN: dict[str, dict[str, Any]] = {
    "mlm": {},
    "causal": {},
    "rtd": {"dropout": 0.0, "layers": 1, "width": 0.5},
    "denoise": {"dropout": 0.0, "layers": 1},
}


def made_of(name: str, network: str = "transformer", **options: Any) -> tuple[Any, Any, TextPipeline]:
    """(task, view, pipeline) without dropout."""
    pipe = pipeline()
    body = TinyCausal(pipe.tokens.vocabulary) if name == "causal" else backbone(pipe, network)
    settings = config(**{**PLAIN[name], **options})
    torch.manual_seed(1)
    return BUILDERS[name](body, pipe, settings), VIEWS[name](pipe, settings), pipe


def negative_log(logits: Tensor, token: int) -> float:
    """Cross entropy of one distribution in nats, in double precision."""
    values = logits.double()
    return float(values.exp().sum().log() - values[token])


def log_loss(logit: float, positive: bool) -> float:
    return math.log1p(math.exp(-logit if positive else logit))


def mlm_slowly(task: Any, batch: Batch) -> tuple[float, float]:
    loss = count = 0.0
    tokens, table = task.backbone(batch, ("tokens",)).tokens, task.backbone.input_embedding().weight
    for row in range(len(batch["index"])):
        for place, target in zip(batch["masked"][row].tolist(), batch["target"][row].tolist(), strict=True):
            if target != IGNORE:
                logits = table @ task.head.transform(tokens[row, place]) + task.head.bias
                loss, count = loss + negative_log(logits, target), count + 1
    return loss, count


def causal_slowly(task: Any, batch: Batch) -> tuple[float, float]:
    loss = count = 0.0
    for row in range(len(batch["index"])):
        real = int(batch["attention_mask"][row].sum())
        for place in range(1, real):  # only what is before is ever shown
            before = {key: tensor[row : row + 1, :place] for key, tensor in batch.items() if tensor.dim() > 1}
            logits = task.backbone(before, ("lm",)).lm[0, -1]
            loss, count = loss + negative_log(logits, int(batch["input_ids"][row, place])), count + 1
    return loss, count


def rtd_slowly(task: Any, batch: Batch) -> tuple[float, float]:
    loss = count = 0.0
    guesses = task.generator(batch, task.backbone.input_embedding())
    for row in range(len(batch["index"])):
        real = int(batch["attention_mask"][row].sum())
        ids = batch["original"][row].tolist()
        generator = masked = 0.0
        for slot, (place, target) in enumerate(
            zip(batch["masked"][row].tolist(), batch["target"][row].tolist(), strict=True)
        ):
            if target == IGNORE:
                continue
            generator, masked = generator + negative_log(guesses[row, slot], target), masked + 1
            reached, token = 0.0, -1
            while reached <= float(batch["noise"][row, slot]):
                token += 1
                reached += float(guesses[row, slot].softmax(-1)[token])
            ids[place] = token
        shown = {"input_ids": torch.tensor([ids]), "attention_mask": batch["attention_mask"][row : row + 1]}
        shown["token_type_ids"] = batch["token_type_ids"][row : row + 1]
        tokens = task.backbone(shown, ("tokens",)).tokens[0]
        discriminator = sum(
            log_loss(float(task.head(tokens[place])), ids[place] != int(batch["original"][row, place]))
            for place in range(real)
        )
        loss += real * (generator / masked + 50 * discriminator / real)
        count += real
    return loss, count


def denoise_slowly(task: Any, batch: Batch) -> tuple[float, float]:
    loss = count = 0.0
    embedding = task.backbone.input_embedding()
    for row in range(len(batch["index"])):
        left = int(batch["attention_mask"][row].sum())
        shown = {key: batch[key][row : row + 1, :left] for key in ("input_ids", "attention_mask", "token_type_ids")}
        memory = task.backbone(shown, ("tokens",)).tokens
        target = [token for token in batch["target"][row].tolist() if token != IGNORE]
        for place, token in enumerate(target):  # the future stands in no input
            written = torch.tensor([[*target[:place], 0]])
            logits = task.decoder(written, memory, shown["attention_mask"].bool(), embedding)[0, -1]
            loss, count = loss + negative_log(logits, token), count + 1
    return loss, count


SLOW = {"mlm": mlm_slowly, "causal": causal_slowly, "rtd": rtd_slowly, "denoise": denoise_slowly}


@pytest.mark.parametrize("name", NAMES)
def test_loss_equals_a_loop_over_positions(name: str) -> None:
    task, view, pipe = made_of(name)
    task.eval()
    source = batch_of(pipe, TEXTS[:6])
    batch = view.augment(source, draws(source))
    with torch.no_grad():
        loss, count, _, _ = task(batch)
        slow, slow_count = SLOW[name](task, batch)
    assert float(count) == slow_count > 0
    assert float(loss) == pytest.approx(slow, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_four_micro_batches_give_the_loss_and_gradient_of_one(name: str) -> None:
    task, view, pipe = made_of(name)
    source = batch_of(pipe, TEXTS[:24])
    results = []
    for pieces in (1, 4):
        task.zero_grad()
        loss = count = 0.0
        outputs = []
        for start in range(0, 24, 24 // pieces):
            piece = take(source, slice(start, start + 24 // pieces))
            piece_loss, piece_count, _, scores = task(view.augment(piece, draws(piece)))
            piece_loss.backward()
            loss, count = loss + piece_loss.detach().item(), count + float(piece_count)
            outputs.append(scores)
        gradient = torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None]) / count
        results.append((loss / count, count, gradient, torch.cat(outputs)))
    (one, count_one, gradient_one, scores_one), (four, count_four, gradient_four, scores_four) = results
    assert count_one == count_four
    assert float(one) == pytest.approx(float(four), rel=1e-6)
    torch.testing.assert_close(gradient_one, gradient_four, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scores_one, scores_four, atol=1e-4, rtol=1e-5)
    assert not scores_one.requires_grad


class Rows:
    """Batches of eight of a view over all texts, in an order of each epoch's own."""

    samples, steps_per_epoch = len(TEXTS), len(TEXTS) // 8

    def __init__(self, view: Any, pipe: TextPipeline, train: bool) -> None:
        self.view, self.batch, self.train = view, batch_of(pipe, TEXTS), train

    def stream(self, start: int = 0, stop: int = 6, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        if not self.train:
            start, stop = 0, self.steps_per_epoch
        for step in range(start, stop):
            yield take(self.batch, slice(step % 6 * 8, step % 6 * 8 + 8))

    def transform(self, batch: Batch, epoch: int = 0) -> Batch:
        return self.view.augment(batch, draws(batch, epoch)) if self.train else self.view.prepare(batch)


def run(name: str, folder: Path, steps: int, **options: Any) -> tuple[FitResult, Any]:
    task, view, pipe = made_of(name, **options.pop("task", {}))
    engine = EngineConfig(steps=steps, lr=0.01, log_every=1, eval_every=max(6, steps // 4), **options)
    result = fit(
        task,
        Rows(view, pipe, True),
        _Eval(view, pipe, False),
        engine,
        {"main": layerwise_groups(task.layer_groups(), weight_decay=0.01, layer_decay=1.0)},
        runtime=Runtime.create(device="cpu"),
        checkpoints=Checkpoints(folder / "checkpoints"),
        logger=Logger(folder, quiet=True),
    )
    return result, task


class _Eval(Rows):
    def stream(self, rank: int = 0, world: int = 1) -> Iterator[Batch]:  # type: ignore[override]
        return super().stream()


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_gives_the_same_curve_in_micro_batches(name: str, tmp_path: Path) -> None:
    one, _ = run(name, tmp_path / "one", 6)
    four, _ = run(name, tmp_path / "four", 6, micro_batch=2)
    assert one.metrics["loss"] == pytest.approx(four.metrics["loss"], rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_learns(name: str, tmp_path: Path) -> None:
    result, _ = run(name, tmp_path, 96, eval_first=True)
    losses = [record["loss"] for record in result.history]
    assert losses[-1] < 0.8 * losses[0]
    assert result.metrics["perplexity"] >= 1.0


@pytest.mark.parametrize("name", NAMES)
def test_groups_hold_every_parameter_once_and_the_backbone_saves_alone(name: str) -> None:
    task, _, _ = made_of(name)
    grouped = [key for _, members in task.layer_groups() for key, _ in members]
    assert sorted(grouped) == sorted(key for key, _ in task.named_parameters())
    places = [value.data_ptr() for value in task.state_dict().values()]
    assert len(set(places)) == len(places)  # safetensors writes no tensor twice
    with pytest.raises(UsageError):
        task.export_module()


@pytest.mark.parametrize("name", ["mlm", "rtd", "denoise"])
@pytest.mark.parametrize("network", ["lstm", "gru"])
def test_recurrent_backbones(name: str, network: str) -> None:
    task, view, pipe = made_of(name, network)
    batch = view.prepare(batch_of(pipe, TEXTS[:4]))
    loss, _, _, _ = task(batch)
    loss.backward()
    assert all(parameter.grad is not None for parameter in task.parameters())


def test_token_scores_equal_a_loop() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(3, 4, 7), torch.randint(7, (3, 4))
    target[1, 2:] = IGNORE
    target[2] = IGNORE
    scores = token_scores(logits, target)
    for row in range(3):
        real = [place for place in range(4) if int(target[row, place]) != IGNORE]
        expected = [
            sum(negative_log(logits[row, place], int(target[row, place])) for place in real),
            len(real),
            sum(int(logits[row, place].argmax()) == int(target[row, place]) for place in real),
        ]
        assert scores[row].tolist() == pytest.approx(expected, rel=1e-5)


def test_metrics() -> None:
    metrics = TokenMetrics("masked_accuracy")
    metrics.update(torch.tensor([[2.0, 4.0, 1.0], [6.0, 4.0, 3.0]]), {})
    assert metrics.compute() == {"perplexity": pytest.approx(math.e), "masked_accuracy": 0.5}
    metrics.reset()
    metrics.update(torch.tensor([[1e6, 1.0, 0.0]]), {})
    assert metrics.compute()["perplexity"] == pytest.approx(LARGEST)
    metrics.reset()
    assert metrics.compute() == {"perplexity": 1.0, "masked_accuracy": 0.0}
    found = RtdMetrics().to(torch.device("cpu"))
    found.update(torch.tensor([[0.0, 2.0, 1.0, 3.0, 10.0, 9.0, 2.0, 1.0]]), {})
    assert found.compute() == {"perplexity": 1.0, "masked_accuracy": 0.5, "accuracy": 0.9, "found": 0.5}


def test_samples_follow_the_distribution() -> None:
    logits = torch.tensor([0.5, 0.2, 0.0, 0.3]).log().expand(1, 4000, 4)
    noise = (torch.arange(4000).float() / 4000)[None]
    counts = torch.bincount(sample(logits, noise)[0], minlength=4)
    assert counts.tolist() == pytest.approx([2000, 800, 0, 1200], abs=2)
    assert sample(logits[:, :2], torch.tensor([[0.0, 1.0 - 2**-24]]))[0].tolist() == [0, 3]


def test_the_generator_learns_from_its_own_loss_alone() -> None:
    """Nothing flows from the discriminator into the generator's layers."""
    task, view, pipe = made_of("rtd")
    batch = view.prepare(batch_of(pipe, TEXTS[:8]))
    gradients = []
    for weight in (50.0, 0.0):
        task.weight = weight
        task.zero_grad()
        task(batch)[0].backward()
        gradients.append(task.generator.entry[0].weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_objectives_fit_backbones() -> None:
    pipe = pipeline()
    causal, both = TinyCausal(pipe.tokens.vocabulary), backbone(pipe)
    for name in ("mlm", "rtd"):
        with pytest.raises(UsageError, match="both sides"):
            BUILDERS[name](causal, pipe, config())
    with pytest.raises(UsageError, match="causal"):
        build_causal(both, pipe, config())
    with pytest.raises(UsageError):
        require(both, ("CausalModel",), "The objective causal")
    build_causal(causal, pipe, config())
    assert causal.trained


def test_records_can_be_built() -> None:
    pipe = pipeline()
    assert [spec.name for spec in OBJECTIVES] == list(NAMES)
    for spec in OBJECTIVES:
        body = TinyCausal(pipe.tokens.vocabulary) if spec.name == "causal" else backbone(pipe)
        if spec.name != "causal":
            require(body, spec.needs, spec.name)
        settings = config(**spec.options)
        task = load_builder(spec.builder, spec.requires, spec.extra)(body, pipe, settings)
        view = load_builder(spec.view, spec.requires, spec.extra)(pipe, settings)
        loss, count, _, outputs = task(view.prepare(batch_of(pipe, TEXTS[:3])))
        assert torch.isfinite(loss)
        assert outputs.shape[0] == 3
        assert count > 0
