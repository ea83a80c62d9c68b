"""The denoising autoencoder: its noise, and its loss against a loop."""

from __future__ import annotations

import pytest
import timm
import torch
from finetuning import write_photos
from generative_toys import augmented, canvases, config, contract, learns, metrics, network, pretrain, same_in_pieces
from safetensors.torch import load_file

from zoo.cli.main import run
from zoo_registry.errors import UsageError
from zoo_vision.objectives.denoising import DenoisingOptions, DenoisingTask, denoising_view
from zoo_vision.objectives.keyed import normal
from zoo_vision.pipeline import ImagePipeline


def task(**options) -> DenoisingTask:
    return DenoisingTask(network("test_convnext"), contract(), DenoisingOptions(width=16, **options)).eval()


def view():
    return denoising_view(ImagePipeline(contract()), config())


def test_noise_is_normal_and_each_samples_own():
    key = torch.tensor([3, 2**40, 3])
    noise = normal(key, "test", 20_000)
    assert torch.equal(noise[0], noise[2])
    assert abs(float((noise[0] * noise[1]).mean())) < 0.03
    assert noise.isfinite().all()
    for row in noise[:2]:
        assert abs(float(row.mean())) < 0.03
        assert float(row.std()) == pytest.approx(1, abs=0.03)
        assert float((row.abs() < 1).float().mean()) == pytest.approx(0.6827, abs=0.02)
        assert float((row.abs() < 2).float().mean()) == pytest.approx(0.9545, abs=0.01)


@torch.no_grad()
def test_the_loss_is_that_of_a_loop_over_images():
    made, given = task(noise=0.7), augmented(view(), canvases(4))
    made.fit_data([given])
    loss, count, _, sums = made(given)
    expected = held_against = 0.0
    for b in range(4):
        image = given["image"][b]
        noise = normal(given["key"][b : b + 1], "denoising", 3 * 32 * 32).view(3, 32, 32)
        tokens = made.backbone({"image": (image + 0.7 * noise)[None]}, ("grid",)).tokens
        expected += float((made.decoder(tokens)[0] - image).square().mean())
        held_against += float((given["image"].mean(0) - image).square().mean())
    assert float(count) == 4
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    counter = made.metrics()
    counter.update(sums, given)
    assert counter.compute()["relative_error"] == pytest.approx(expected / held_against, rel=1e-3)


def test_the_mean_image_is_that_of_all_batches():
    made, plain = task(), ImagePipeline(contract())
    pictures = canvases(8)
    cut = [{name: tensor[at] for name, tensor in pictures.items()} for at in (slice(0, 5), slice(5, 8))]
    made.fit_data(plain.prepare(piece) for piece in cut)
    expected = plain.prepare(pictures)["image"].mean(0).flatten()
    torch.testing.assert_close(made.mean_target[0], expected, rtol=1e-4, atol=1e-5)
    guess = made.mean_target.expand(8, 1, -1)
    made.rebuild = lambda batch: (guess, torch.ones(8, 1, dtype=torch.bool), batch["image"])
    counter = made.metrics()
    counter.update(made(plain.prepare(pictures))[3], pictures)
    assert counter.compute()["relative_error"] == pytest.approx(1.0)


def test_pieces_of_a_batch_make_the_same_loss():
    same_in_pieces(task(), view(), canvases(8))


def test_without_noise_it_is_a_plain_autoencoder_that_learns():
    made, given = task(noise=0.0).train(), augmented(view(), canvases(4))
    assert torch.equal(made.rebuild(given)[2], given["image"])
    assert learns(made, given)


@pytest.mark.parametrize("wrong", [{"noise": -0.1}, {"noise": float("nan")}, {"width": 8}, {"crop": 0.0}])
def test_settings_that_mean_nothing(wrong):
    with pytest.raises(UsageError):
        DenoisingOptions(**wrong)


def test_a_run_hands_over(tmp_path):
    data, out = write_photos(tmp_path / "photos", train=8, val=4), tmp_path / "run"
    assert pretrain("test_convnext", "denoising", data, out, "--epochs", "2", "-O", "width=16") == 0
    assert 0 < metrics(out)["relative_error"] < 10
    assert (out / "pictures" / "rebuilt.png").is_file()
    plain = timm.create_model("test_convnext", num_classes=0)
    plain.load_state_dict(load_file(out / "model" / "backbone.safetensors"), strict=True)
    tuned = ["finetune", str(out), "--data", str(data), "--epochs", "1", "-o", str(tmp_path / "tuned")]
    assert run(tuned) == 0
