"""The objectives' losses against loops over frames, exact accumulation, padding, and what their figures say."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pretraining_toys import INPUT, RATE, batch_of, config, draws, guesser, masker, pipeline, take
from torch import Tensor

from zoo.capabilities import require
from zoo.data.draws import HashDraws
from zoo.protocols import Batch, FitsData
from zoo_audio.frontend import LogMel
from zoo_audio.objectives.hubert import ClusterMetrics, HubertTask, build_hubert
from zoo_audio.objectives.mask_spectrogram import RebuiltMetrics, build_mask_spectrogram
from zoo_audio.objectives.mfcc import Mfcc
from zoo_audio.objectives.spans import keyed_view, span_mask
from zoo_audio.objectives.wav2vec2 import CodeMetrics, Wav2Vec2Options, build_wav2vec2, contrastive_scores
from zoo_audio.objectives.wavenet import SampleMetrics, build_wavenet, wavenet_view
from zoo_audio.objectives_list import OBJECTIVES
from zoo_registry.builders import load_builder
from zoo_registry.errors import DataError, UsageError

NAMES = ("wav2vec2", "hubert", "mask_spectrogram", "wavenet")
BUILDERS = {
    "wav2vec2": build_wav2vec2,
    "hubert": build_hubert,
    "mask_spectrogram": build_mask_spectrogram,
    "wavenet": build_wavenet,
}
SMALL: dict[str, dict[str, Any]] = {
    "wav2vec2": {"start": 0.2, "span": 3, "distractors": 5, "entries": 6},
    "hubert": {"start": 0.2, "span": 3, "clusters": 6, "frames": 60},
    "mask_spectrogram": {"start": 0.2, "span": 3, "mels": 12},
    "wavenet": {},
}
LENGTHS = [0.3, 0.12, 0.5, 0.03, 0.21, 0.4, 0.4, 0.17]


def made_of(name: str, **options: Any) -> tuple[Any, Any]:
    """(task, view), its clusters found."""
    settings = config(**{**SMALL[name], **options})
    torch.manual_seed(1)
    task = BUILDERS[name](guesser() if name == "wavenet" else masker(), pipeline(), settings)
    view = wavenet_view(pipeline(), settings) if name == "wavenet" else keyed_view(pipeline(), settings)
    if isinstance(task, FitsData):
        task.fit_data([view.prepare(batch_of(LENGTHS))])
    return task, view


def negative_log(logits: Tensor, target: int) -> float:
    values = logits.double()
    return float(values.exp().sum().log() - values[target])


def cosine(first: Tensor, second: Tensor) -> Tensor:
    return first @ second / (first.norm() * second.norm())


def each_alone(task: Any, batch: Batch, start: float, span: int) -> Any:
    """For each sample by itself: (its batch, features, hidden places, context)."""
    for row in range(len(batch["index"])):
        alone = take(batch, slice(row, row + 1))
        features, real = task.backbone.embed(alone)
        hidden = span_mask(real, HashDraws(0, 0, alone["key"]), start, span)[0]
        shown = features.clone()
        for place in hidden.nonzero()[:, 0].tolist():
            shown[0, place] = task.hider.vector
        yield alone, features[0], hidden.nonzero()[:, 0].tolist(), task.backbone.contextualise(shown, real).tokens[0]


def wav2vec2_slowly(task: Any, batch: Batch, options: Any) -> tuple[float, float]:
    loss = count = 0.0
    chances: list[Tensor] = []
    for alone, features, places, context in each_alone(task, batch, options.start, options.span):
        if len(places) < 2:
            continue
        random = HashDraws(0, 0, alone["key"])
        noise = random.uniform("code", 10_000)[0]
        uniform = random.uniform("distractor", 10_000)[0]
        quantised, groups, entries = [], task.quantiser.groups, task.quantiser.entries
        for number, place in enumerate(places):
            own = noise[number * groups * entries :][: groups * entries] if task.training else None
            parts = task.quantiser(
                features[place][None, None],
                None if own is None else own.view(1, 1, groups, entries),
                float(task.temperature),
            )
            quantised.append(task.project_target(parts[0][0, 0]))
            chances.append(parts[2][0, 0])
        for number, place in enumerate(places):
            guess = task.project_context(context[place])
            logits = [cosine(guess, quantised[number])]
            for distractor in range(options.distractors):
                drawn = uniform[number * options.distractors + distractor]
                others = [other for other in range(len(places)) if other != number]
                logits.append(cosine(guess, quantised[others[int(drawn * len(others))]]))
            loss, count = loss + negative_log(torch.stack(logits) / options.scale, 0), count + 1
    mean = torch.stack(chances).mean(dim=0)
    used = [math.exp(-sum(p * math.log(p) for p in group.tolist() if p > 0)) for group in mean]
    return loss + options.diversity * (1 - sum(used) / len(used) / mean.shape[1]) * count, count


def hubert_slowly(task: Any, batch: Batch, options: Any) -> tuple[float, float]:
    loss = count = 0.0
    for alone, features, places, context in each_alone(task, batch, options.start, options.span):
        mfcc, _ = Mfcc(RATE)(alone["waveform"], alone["length"])
        for place in range(len(features)):
            frame = (mfcc[0, min(2 * place + 1, len(mfcc[0]) - 1)] - task.mean) / task.deviation
            cluster = min(range(len(task.centroids)), key=lambda c: float((frame - task.centroids[c]).square().sum()))
            guess = task.project(context[place])
            logits = torch.stack([cosine(guess, one) for one in task.guesses]) / options.scale
            weight = 1.0 if place in places else options.unmasked
            loss, count = loss + weight * negative_log(logits, cluster), count + weight
    return loss, count


def mask_spectrogram_slowly(task: Any, batch: Batch, options: Any) -> tuple[float, float]:
    loss = count = 0.0
    for alone, _, places, context in each_alone(task, batch, options.start, options.span):
        mel, frames = LogMel(RATE, mels=options.mels)(alone["waveform"], alone["length"])
        for place in places:
            guess = task.decoder(context[place]).view(2, options.mels)
            for part in range(2):
                if 2 * place + part < int(frames):
                    loss += float((guess[part] - mel[0, 2 * place + part]).square().mean())
                    count += 1
    return loss, count


def wavenet_slowly(task: Any, batch: Batch, options: Any) -> tuple[float, float]:
    loss = count = 0.0
    for row in range(len(batch["index"])):
        codes = batch["codes"][row, : int(batch["length"][row])]
        for place in range(1, len(codes)):  # only what is before is ever shown
            logits = task.backbone.forward_codes(codes[None, max(0, place - 8) : place])[0, -1]
            loss, count = loss + negative_log(logits, int(codes[place])), count + 1
    return loss, count


SLOW = {
    "wav2vec2": wav2vec2_slowly,
    "hubert": hubert_slowly,
    "mask_spectrogram": mask_spectrogram_slowly,
    "wavenet": wavenet_slowly,
}


def settings_of(name: str, task: Any) -> Any:
    return getattr(task, "options", SimpleNamespace(**SMALL[name]))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_loss_equals_a_loop_over_frames(name: str, training: bool) -> None:
    task, view = made_of(name, **({"unmasked": 0.5} if name == "hubert" else {}))
    task.train(training)
    source = batch_of([0.05, 0.03] if name == "wavenet" else LENGTHS[:5])
    batch = view.augment(source, draws(source))
    with torch.no_grad():
        loss, count, _, _ = task(batch)
        slow, slow_count = SLOW[name](task, batch, settings_of(name, task))
    assert float(count) == slow_count > 0
    assert float(loss) == pytest.approx(slow, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_four_micro_batches_give_the_loss_and_gradient_of_one(name: str) -> None:
    task, view = made_of(name, **({"diversity": 0.0} if name == "wav2vec2" else {}))
    assert not task.batch_coupled
    source = batch_of(LENGTHS)
    results = []
    for pieces in (1, 4):
        task.zero_grad()
        loss = count = 0.0
        outputs = []
        for start in range(0, 8, 8 // pieces):
            piece = take(source, slice(start, start + 8 // pieces))
            piece_loss, piece_count, _, sums = task(view.augment(piece, draws(piece)))
            piece_loss.backward()
            loss, count = loss + float(piece_loss.detach()), count + float(piece_count)
            outputs.append(sums)
        gradient = torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None]) / count
        results.append((loss / count, count, gradient, torch.cat(outputs)))
    (one, count_one, gradient_one, sums_one), (four, count_four, gradient_four, sums_four) = results
    assert count_one == count_four
    assert one == pytest.approx(four, rel=1e-5)
    torch.testing.assert_close(gradient_one, gradient_four, atol=1e-5, rtol=1e-3)
    # A sample's figures are its own, so padding and company change nothing.
    torch.testing.assert_close(sums_one, sums_four, atol=1e-3, rtol=1e-4)
    assert not sums_one.requires_grad


def test_the_penalty_on_codes_couples_a_batch() -> None:
    task, view = made_of("wav2vec2")
    assert task.batch_coupled
    source = batch_of(LENGTHS)
    whole = view.augment(source, draws(source))
    task.eval()
    contrastive = task.metrics()
    loss, count, logs, sums = task(whole)
    contrastive.update(sums, whole)
    mean = contrastive.compute()["contrastive_loss"]
    assert float(loss.detach() / count) == pytest.approx(mean + 0.1 * float(logs["unevenness"]), rel=1e-5)
    assert 0 < float(logs["unevenness"]) < 1


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_trained_and_grouped(name: str) -> None:
    task, view = made_of(name)
    source = batch_of(LENGTHS)
    task(view.augment(source, draws(source)))[0].backward()
    assert [key for key, parameter in task.named_parameters() if parameter.grad is None] == []
    grouped = [key for _, members in task.layer_groups() for key, _ in members]
    assert sorted(grouped) == sorted(key for key, _ in task.named_parameters())
    assert not any(key.startswith(("mel.", "mfcc.")) for key in task.state_dict())
    with pytest.raises(UsageError):
        task.export_module()


def test_one_hidden_frame_has_nothing_to_be_told_from() -> None:
    task, view = made_of("wav2vec2")
    loss, count, _, _ = task(view.prepare(batch_of([0.001, 0.001])))
    assert (loss.item(), float(count)) == (0.0, 0.0)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in task.parameters())


def test_collapsed_codes_are_guessing_and_are_seen() -> None:
    """All frames quantised alike: the loss is log(K + 1), not 0, and the figures say so."""
    task, view = made_of("wav2vec2")
    with torch.no_grad():
        task.quantiser.choose.weight.zero_()
        task.quantiser.choose.bias.copy_(torch.tensor([20.0, *[0.0] * 5] * 2))
    task.eval()
    batch = view.prepare(batch_of(LENGTHS))
    _, _, logs, sums = task(batch)
    metrics = task.metrics()
    metrics.update(sums, batch)
    figures = metrics.compute()
    assert figures["contrastive_loss"] == pytest.approx(math.log(6), rel=1e-5)
    assert figures["accuracy"] == 0.0
    assert figures["code_perplexity"] == pytest.approx(1.0, abs=1e-4)
    assert figures["codes_used"] == pytest.approx(1 / 6)
    assert float(logs["code_perplexity"]) == pytest.approx(1.0, abs=1e-4)
    assert float(logs["unevenness"]) == pytest.approx(5 / 6, abs=1e-4)


def test_scores_by_hand() -> None:
    logits = torch.tensor([[[2.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 5.0]]])
    others = torch.tensor([[[1, 2], [0, 2], [0, 1]]])
    codes = torch.tensor([[[0, 1], [1, 1], [0, 1]]])
    target = torch.tensor([[True, True, False]])
    scores = contrastive_scores(logits, others, codes, target)[0]
    first = math.log(math.exp(2) + math.exp(1) + 1) - 2
    second = math.log(math.exp(1) + math.exp(3) + 1) - 1
    assert scores.tolist() == pytest.approx([first + second, 2.0, 1.0])


def test_temperature_follows_the_step_and_is_saved() -> None:
    task, _ = made_of("wav2vec2")
    assert float(task.temperature) == 2.0
    task.after_step(35, 100)
    assert float(task.state_dict()["temperature"]) == pytest.approx(1.0)


def test_clusters_are_a_function_of_the_data() -> None:
    first, _ = made_of("hubert")
    second, view = made_of("hubert")
    for key in ("mean", "deviation", "centroids"):
        assert torch.equal(first.state_dict()[key], second.state_dict()[key])
    source = batch_of(LENGTHS)
    pieces = [view.prepare(take(source, slice(start, start + 2))) for start in (0, 2, 4, 6)]
    second.fit_data(pieces)  # in other batches: the same frames are drawn
    torch.testing.assert_close(first.centroids, second.centroids, atol=1e-3, rtol=1e-3)
    frames = torch.cat([Mfcc(RATE)(p["waveform"], p["length"])[0].flatten(0, 1) for p in [view.prepare(source)]])
    assert len(first._sample([view.prepare(source)])) == 60 < len(frames)


def test_all_frames_are_clustered_where_there_are_few() -> None:
    task, view = made_of("hubert", frames=10_000)
    batch = view.prepare(batch_of(LENGTHS))
    mfcc, count = Mfcc(RATE)(batch["waveform"], batch["length"])
    points = torch.cat([mfcc[row, : int(count[row])] for row in range(8)])
    torch.testing.assert_close(task.mean, points.mean(dim=0), atol=1e-4, rtol=1e-4)
    assert len(task._sample([batch])) == len(points)
    assert len(set(task.targets(batch, 26).flatten().tolist())) == 6


def test_too_little_data_to_cluster() -> None:
    task, view = made_of("hubert", clusters=50, frames=60)
    with pytest.raises(DataError, match="different frames"):
        task.fit_data([view.prepare(batch_of([0.1]))])
    with pytest.raises(DataError, match="two frames"):
        task.fit_data([])


def test_figures() -> None:
    codes = CodeMetrics(1, 2)
    codes.update(torch.tensor([[2.0, 4.0, 1.0, 4.0, 0.0], [2.0, 4.0, 3.0, 2.0, 2.0]]), {})
    assert codes.compute() == {
        "contrastive_loss": 0.5,
        "accuracy": 0.5,
        "code_perplexity": pytest.approx(4 / 3**0.75, rel=1e-5),
        "codes_used": 1.0,
    }
    clusters = ClusterMetrics(2)
    clusters.update(torch.tensor([[9.0, 4.0, 3.0, 9.0, 2.0, 1.0, 3.0, 1.0, 4.0, 0.0]]), {})
    assert clusters.compute() == {
        "masked_accuracy": 0.75,
        "unmasked_accuracy": 0.5,
        "majority_accuracy": 0.75,
        "target_perplexity": pytest.approx(4 / 3**0.75, rel=1e-5),
        "guess_perplexity": pytest.approx(1.0, rel=1e-5),
    }
    rebuilt = RebuiltMetrics(3)
    rebuilt.update(torch.tensor([[1.0, 2.0, 4.0]]), {})
    assert rebuilt.compute() == {"relative_error": 0.25}
    samples = SampleMetrics(3)
    samples.update(torch.tensor([[8 * math.log(2.0), 2.0, 1.0]]), {})
    assert samples.compute() == {"bits_per_sample": pytest.approx(4.0), "accuracy": 0.5}


def test_saying_the_mean_frame_has_a_relative_error_of_one() -> None:
    task, view = made_of("mask_spectrogram")
    batch = view.prepare(batch_of([0.4]))
    mel, count = task.mel(batch["waveform"], batch["length"])
    mean = mel[0, : int(count)].mean(dim=0)
    with torch.no_grad():
        task.decoder[-1].weight.zero_()
        task.decoder[-1].bias.copy_(mean.repeat(2))
    _, _, _, sums = task(batch)
    metrics = task.metrics()
    metrics.update(sums, batch)
    assert metrics.compute()["relative_error"] == pytest.approx(1.0, rel=1e-4)


def test_records_can_be_built() -> None:
    assert tuple(spec.name for spec in OBJECTIVES) == NAMES
    for spec in OBJECTIVES:
        body = guesser() if spec.name == "wavenet" else masker()
        require(body, spec.needs, spec.name)
        small = {"clusters": 5} if spec.name == "hubert" else {}
        settings = config(**{**spec.options, **small})
        task = load_builder(spec.builder, spec.requires, spec.extra)(body, pipeline(), settings)
        view = load_builder(spec.view, spec.requires, spec.extra)(pipeline(), settings)
        batch = view.prepare(batch_of([0.3, 0.4]))
        assert isinstance(task, FitsData) == (spec.name == "hubert") == isinstance(task, HubertTask)
        loss, count, _, outputs = task(batch)
        assert torch.isfinite(loss)
        assert outputs.shape[0] == 2
        assert count > 0


def test_objectives_refuse_what_they_cannot_use() -> None:
    with pytest.raises(UsageError, match="Maskable"):
        require(guesser(), ("Maskable", "Frames"), "The objective hubert")
    with pytest.raises(UsageError, match="Autoregressive"):
        require(masker(), ("Autoregressive",), "The objective wavenet")
    for options in ({"entries": 1}, {"distractors": 0}, {"scale": 0.0}, {"coldest": 3.0}):
        with pytest.raises(UsageError):
            Wav2Vec2Options(**options)
    for options in ({"clusters": 1}, {"clusters": 50, "frames": 10}, {"unmasked": -1.0}):
        with pytest.raises(UsageError):
            build_hubert(masker(), pipeline(), config(**options))
    with pytest.raises(UsageError, match="no setting"):
        build_hubert(masker(), pipeline(), config(mels=3))


def test_entries_follow_the_width() -> None:
    wide = SimpleNamespace(dim=768, input=INPUT)
    body = torch.nn.Module()
    vars(body).update(vars(wide))
    assert build_wav2vec2(body, pipeline(), config()).quantiser.entries == 320
    assert build_wav2vec2(masker(), pipeline(), config()).quantiser.entries == 8
