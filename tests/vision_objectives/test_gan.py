"""The generative adversarial objective: its losses, its two phases, spectral normalisation, and resuming."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest
import timm
import torch
from finetuning import write_photos
from generative_toys import augmented, canvases, config, contract, metrics, network, pretrain, same_in_pieces, saved
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from zoo.cli.main import run
from zoo_registry.errors import UsageError
from zoo_vision.objectives.gan import GanOptions, GanTask, gan_view
from zoo_vision.objectives.generator import Generator, count_doublings
from zoo_vision.objectives.keyed import normal
from zoo_vision.objectives.samples import DIRECTIONS, SampleMetrics, diversity, sliced_distance
from zoo_vision.objectives.spectral import SpectralNorm, singular_value
from zoo_vision.pipeline import ImagePipeline

SMALL = {"latent": 8, "width": 8}
FLAGS = ["-O", "latent=8", "-O", "width=8"]


def task(name: str = "test_convnext", size: int = 32, **options) -> GanTask:
    return GanTask(network(name, size), contract(size), 3, GanOptions(**SMALL, **options))


def view():
    return gan_view(ImagePipeline(contract()), config())


@torch.no_grad()
@pytest.mark.parametrize("loss", ["hinge", "non-saturating"])
def test_the_losses_are_those_of_loops(loss):
    made, given = task(loss=loss, spectral=False).eval(), augmented(view(), canvases(4))
    first, count, logs, _ = made(given, "discriminator")
    second, _, _, found = made(given, "generator")
    expected = {"discriminator": 0.0, "generator": 0.0}
    right = []
    mean, std = (torch.tensor(values)[:, None, None] for values in (contract().mean, contract().std))
    for b in range(4):
        real = float(made.head(made.backbone({"image": given["image"][b : b + 1]}).pooled))
        for phase in made.phases:
            latent = normal(given["key"][b : b + 1], phase, 8)
            pixels = (made.generator(latent) + 1) / 2
            assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
            fake = float(made.head(made.backbone({"image": (pixels - mean) / std}).pooled))
            if phase == "generator":
                expected[phase] += -fake if loss == "hinge" else math.log(1 + math.exp(-fake))
            elif loss == "hinge":
                expected[phase] += max(0.0, 1 - real) + max(0.0, 1 + fake)
            else:
                expected[phase] += math.log(1 + math.exp(-real)) + math.log(1 + math.exp(fake))
        right.append((real > 0, fake <= 0))
    assert float(count) == 4
    assert float(first) == pytest.approx(expected["discriminator"], rel=1e-3)
    assert float(second) == pytest.approx(expected["generator"], rel=1e-3, abs=1e-4)
    assert found[:, -2:].tolist() == [[float(a), float(b)] for a, b in right]
    assert set(logs) == {"real_accuracy", "fake_accuracy"}


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", "test_vit", "test_efficientnet"])
def test_phases_share_out_the_parameters(name):
    made = task(name)
    groups = {phase: [n for _, ps in made.layer_groups(phase) for n, _ in ps] for phase in made.phases}
    assert all(n.startswith(("backbone.", "head.")) for n in groups["discriminator"])
    assert all(n.startswith("generator.") for n in groups["generator"])
    trained = {n for n, p in made.named_parameters() if p.requires_grad}
    assert set(groups["discriminator"]) | set(groups["generator"]) == trained
    assert len(groups["discriminator"]) + len(groups["generator"]) == len(trained)


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_pieces_of_a_batch_make_the_same_loss(phase):
    same_in_pieces(task(), view(), canvases(8), phase)


def test_spectral_normalisation_is_torchs():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 16, 4))
    norm = SpectralNorm(plain)
    for _ in range(200):
        norm._iterate(plain)
    theirs = nn.Sequential(*[nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 16, 4)])
    theirs.load_state_dict(plain.state_dict())
    for index in (0, 3):
        spectral_norm(theirs[index], n_power_iterations=200)
    image = torch.randn(2, 3, 6, 6)
    ours, expected = norm(plain, image), theirs(image)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    ours.square().sum().backward()
    expected.square().sum().backward()
    for index in (0, 3):
        reference = theirs[index].parametrizations.weight.original.grad
        torch.testing.assert_close(plain[index].weight.grad, reference, rtol=0.01, atol=1e-3)


def test_after_a_step_the_weights_are_those_that_are_used():
    made, image = task("test_resnet").eval().requires_grad_(False), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for parameter in made.backbone.parameters():
            parameter.mul_(3.0)
    before = made.judge(image)
    made.after_step(1, 10)
    torch.testing.assert_close(made.judge(image), before, rtol=0.1, atol=0.05)
    plain = made.head(made.backbone({"image": image}).pooled).squeeze(1)
    torch.testing.assert_close(plain, made.judge(image), rtol=1e-4, atol=1e-4)
    for _ in range(60):
        made.after_step(1, 10)
    for name in made.backbone_norm.names:
        matrix = made.backbone.get_parameter(name).flatten(1)
        assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(1, abs=0.05), name


def test_the_gradient_of_a_singular_value_is_the_outer_product_of_its_vectors():
    weight = torch.randn(6, 2, 3, requires_grad=True)
    left, _, right = torch.linalg.svd(weight.detach().flatten(1), full_matrices=False)
    value = singular_value(weight, 5 * left[:, 0])
    value.backward()
    assert value.item() == pytest.approx(torch.linalg.matrix_norm(weight.flatten(1), 2).item(), rel=1e-5)
    torch.testing.assert_close(weight.grad.flatten(1), torch.outer(left[:, 0], right[0]))


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_batch_normalisation_sees_images_and_samples_together(phase):
    made, given = task("test_resnet", spectral=False).train(), augmented(view(), canvases(8))
    assert made.couples()
    loss, *_ = made(given, phase)
    alone = task("test_resnet", spectral=False).train()
    alone.load_state_dict(task("test_resnet", spectral=False).state_dict())
    both = torch.cat([given["image"], alone.samples(normal(given["key"], phase, 8))])
    scores = alone.head(alone.backbone({"image": both}).pooled).squeeze(1)
    expected = F.relu(1 - scores[:8]) + F.relu(1 + scores[8:]) if phase == "discriminator" else -scores[8:]
    torch.testing.assert_close(loss, expected.sum(), rtol=1e-4, atol=1e-4)
    statistics = zip(made.backbone.named_buffers(), alone.backbone.buffers(), strict=True)
    assert all(torch.allclose(found, expected, atol=1e-5) for (_, found), expected in statistics)


def test_without_it_the_generators_step_leaves_images_out():
    made, given = task().train(), augmented(view(), canvases(4))
    assert not made.couples()
    seen = []
    made.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0]["image"])))
    made(given, "discriminator")
    made(given, "generator")
    made.eval()(given, "generator")
    assert seen == [8, 4, 8]


@pytest.mark.parametrize(
    ("height", "width", "doublings"), [(32, 32, 3), (36, 36, 2), (48, 64, 3), (64, 64, 4), (224, 224, 5), (100, 100, 2)]
)
def test_sizes_that_the_generator_makes(height, width, doublings):
    assert count_doublings(height, width) == doublings
    made = Generator(4, 8, (1, height, width))(torch.randn(2, 4))
    assert made.shape == (2, 1, height, width)
    assert made.abs().max().item() <= 1


@pytest.mark.parametrize("size", [28, 33, 34, 50])
def test_sizes_that_it_does_not(size):
    with pytest.raises(UsageError, match="--size"):
        count_doublings(size, size)


def test_distances_of_samples():
    torch.manual_seed(0)
    real = torch.randn(500, DIRECTIONS)
    assert sliced_distance(real, real[torch.randperm(500)]) == 0
    assert sliced_distance(real, real + 2) == pytest.approx(2, rel=0.1)
    assert diversity(real, 0.3 * real) == pytest.approx(0.3)


def test_samples_that_are_all_the_same_are_told_of(capsys):
    found = SampleMetrics({"updates": 5.0})
    real = torch.randn(6, DIRECTIONS)
    found.update(torch.cat([real, torch.zeros(6, DIRECTIONS), torch.tensor([[1.0, 0.0]] * 6)], dim=1), {})
    answer = found.compute()
    assert (answer["real_accuracy"], answer["fake_accuracy"], answer["updates"]) == (1.0, 0.0, 5.0)
    assert answer["diversity"] == 0
    assert "nearly all the same" in capsys.readouterr().err


def test_the_grid_shows_the_same_latents_all_through_the_run():
    made = task().eval()
    first = made.show({})["samples"]
    assert first.shape == (64, 3, 32, 32)
    assert first.dtype == torch.uint8
    assert torch.equal(first, made.show({})["samples"])
    assert torch.equal(made.shown, task().shown)
    assert "shown" in made.state_dict()


@pytest.mark.parametrize(
    "wrong", [{"loss": "wasserstein"}, {"spectral": "on"}, {"latent": 0}, {"width": 12}, {"crop": 0.0}]
)
def test_settings_that_mean_nothing(wrong):
    with pytest.raises(UsageError):
        GanOptions(**wrong)


def test_the_size_is_checked(tmp_path, capsys):
    data = write_photos(tmp_path / "photos", train=2, val=2)
    assert pretrain("test_resnet", "gan", data, tmp_path / "run", "--size", "34") == 2
    assert "34x34" in capsys.readouterr().err


def test_micro_batches_leave_the_same_curve(tmp_path):
    data = write_photos(tmp_path / "photos", train=8, val=4)
    curves = []
    for name, flags in (("whole", ["--micro-batch", "8"]), ("cut", ["--micro-batch", "2"])):
        # Plain SGD: Adam would blow up the rounding of gradients that are nearly 0.
        recipe = ["--epochs", "2", "--log-every", "1", "--optimizer", "sgd", "--lr", "0.01", *flags]
        assert pretrain("test_convnext", "gan", data, tmp_path / name, *FLAGS, *recipe) == 0
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["event"] == "train"]
        curves.append([(line["discriminator/loss"], line["generator/loss"]) for line in steps])
    assert len(curves[0]) == 4
    for whole, cut in zip(*curves, strict=True):
        assert cut == pytest.approx(whole, rel=1e-3, abs=1e-4)


def test_a_phase_leaves_no_gradient_in_the_other(tmp_path, monkeypatch):
    seen = []
    forward = GanTask.forward

    def watched(self, batch, phase="discriminator"):
        if self.training:
            held = {n.split(".")[0] for n, p in self.named_parameters() if p.grad is not None}
            open_ = {n.split(".")[0] for n, p in self.named_parameters() if p.requires_grad}
            seen.append((phase, held, open_))
        return forward(self, batch, phase)

    monkeypatch.setattr(GanTask, "forward", watched)
    data = write_photos(tmp_path / "photos", train=8, val=4)
    flags = ["--epochs", "1", "--micro-batch", "4"]
    assert pretrain("test_resnet", "gan", data, tmp_path / "run", *FLAGS, *flags) == 0
    assert [phase for phase, _, _ in seen] == 2 * (2 * ["discriminator"] + 2 * ["generator"])
    for phase, _, open_ in seen:
        assert open_ == ({"generator"} if phase == "generator" else {"backbone", "head"})
    # In the middle of the discriminator's first step only its own parameters hold gradients.
    assert seen[1][1] == {"backbone", "head"}


def test_an_interrupted_run_ends_like_a_whole_one(tmp_path, monkeypatch):
    """Four steps are two, a signal, and two: weights, both optimizers, singular vectors and statistics bit for bit."""
    data = write_photos(tmp_path / "photos", train=8, val=4)
    flags = [*FLAGS, "--epochs", "2"]
    assert pretrain("test_resnet", "gan", data, tmp_path / "whole", *flags) == 0
    after_step = GanTask.after_step

    def interrupted(self, step, total):
        after_step(self, step, total)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(GanTask, "after_step", interrupted)
        assert pretrain("test_resnet", "gan", data, tmp_path / "cut", *flags) == 143
    assert run(["pretrain", "--resume", str(tmp_path / "cut")]) == 0
    whole, cut = saved(tmp_path / "whole"), saved(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    for kind in ("model/backbone_norm.left_0", "model/generator.", "optimizer/discriminator/", "optimizer/generator/"):
        assert any(name.startswith(kind) for name in whole), kind
    for name, tensor in whole.items():
        assert torch.equal(tensor, cut[name]), name
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_a_run_hands_over(tmp_path):
    data, out = write_photos(tmp_path / "photos", train=8, val=4), tmp_path / "run"
    assert pretrain("test_resnet", "gan", data, out, "--epochs", "2", *FLAGS, "-O", "loss=non-saturating") == 0
    figures = metrics(out)
    assert figures["updates"] == 4
    assert all(math.isfinite(value) for value in figures.values())
    assert (out / "pictures" / "samples.png").is_file()
    assert "samples" in (out / "report.html").read_text()
    plain = timm.create_model("test_resnet", num_classes=0)
    plain.load_state_dict(load_file(out / "model" / "backbone.safetensors"), strict=True)
    tuned = ["finetune", str(out), "--data", str(data), "--epochs", "1", "-o", str(tmp_path / "tuned")]
    assert run(tuned) == 0
