"""The masked autoencoder of convolutional networks: squares, the decoder, and the loss against loops."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from finetuning import write_photos
from generative_toys import augmented, canvases, config, contract, learns, metrics, network, pretrain, same_in_pieces
from safetensors.torch import load_file

from zoo.cli.main import run
from zoo_registry.errors import UsageError
from zoo_vision.objectives.conv_decoder import ConvDecoder
from zoo_vision.objectives.keyed import shuffled
from zoo_vision.objectives.masked_conv import MaskedConvOptions, MaskedConvTask, masked_conv_view
from zoo_vision.pipeline import ImagePipeline


def task(name: str = "test_convnext", size: int = 32, **options) -> MaskedConvTask:
    return MaskedConvTask(network(name, size), contract(size), MaskedConvOptions(width=16, **options)).eval()


def batch(size: int = 32, count: int = 4):
    return augmented(masked_conv_view(ImagePipeline(contract(size)), config()), canvases(count, size))


@torch.no_grad()
@pytest.mark.parametrize(("name", "size"), [("test_resnet", 32), ("test_convnext", 32), ("test_vit", 64)])
def test_the_loss_is_that_of_loops_over_hidden_squares(name, size):
    made, given = task(name, size, square=8), batch(size)
    torch.nn.init.normal_(made.colour)
    made.fit_data([given])
    loss, count, _, sums = made(given)
    side = size // 8
    image, spoilt = given["image"], given["image"].clone()
    chosen = shuffled(given["key"], "masked_conv", side**2)[:, : round(0.6 * side**2)]
    for b in range(4):
        for n in chosen[b].tolist():
            row, column = 8 * (n // side), 8 * (n % side)
            for c in range(3):
                spoilt[b, c, row : row + 8, column : column + 8] = made.colour[c]
    guess = made.decoder(made.backbone({"image": spoilt}, ("grid",)).tokens)
    assert guess.shape == image.shape
    expected = held_against = 0.0
    for b in range(4):
        for n in chosen[b].tolist():
            row, column = 8 * (n // side), 8 * (n % side)
            place = slice(None), slice(row, row + 8), slice(column, column + 8)
            expected += float((guess[b][place] - image[b][place]).square().mean())
            held_against += float((image.mean(0)[place] - image[b][place]).square().mean())
    assert float(count) == chosen.numel()
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    counter = made.metrics()
    counter.update(sums, given)
    assert counter.compute()["relative_error"] == pytest.approx(expected / held_against, rel=1e-3)


@pytest.mark.parametrize(("size", "square", "count"), [(32, 0, 64), (32, 8, 16), (36, 8, 16), (64, 0, 64)])
def test_how_many_squares_there_are(size, square, count):
    made = task("test_resnet", size, square=square)
    assert len(made.mean_target) == count
    _, hidden, _ = made.rebuild(batch(size))
    assert hidden.sum(dim=1).tolist() == [round(0.6 * count)] * 4


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 48), ("test_vit", 80), ("test_resnet", 100)])
def test_any_map_becomes_an_image(name, size):
    backbone = network(name, size)
    decoder = ConvDecoder(backbone, contract(size), 16, "A test")
    tokens = backbone({"image": torch.zeros(2, 3, size, size)}, ("grid",)).tokens
    assert decoder(tokens).shape == (2, 3, size, size)


def test_pieces_of_a_batch_make_the_same_loss():
    same_in_pieces(task(), masked_conv_view(ImagePipeline(contract()), config()), canvases(8))


def test_what_is_seen_is_shown_as_it_is():
    made, given = task(), batch()
    original, spoilt, rebuilt = made.show(given)["rebuilt"].split(32, dim=3)
    hidden = (spoilt != original).any(dim=1)
    assert torch.equal((rebuilt != original).any(dim=1) & ~hidden, torch.zeros_like(hidden))
    assert (rebuilt != original).any()


def test_it_learns():
    made, given = task(ratio=0.25).train(), batch()
    assert learns(made, given)


def test_a_backbone_without_a_map():
    backbone = network("test_resnet")
    backbone.spec = dataclasses.replace(backbone.spec, layouts=("pooled",))
    with pytest.raises(UsageError, match="no grid"):
        MaskedConvTask(backbone, contract(), MaskedConvOptions())


@pytest.mark.parametrize("wrong", [{"ratio": 1.0}, {"square": -1}, {"width": 20}, {"crop": 1.5}])
def test_settings_that_mean_nothing(wrong):
    with pytest.raises(UsageError):
        MaskedConvOptions(**wrong)


def test_a_run_hands_over(tmp_path, capsys):
    data, out = write_photos(tmp_path / "photos", train=8, val=4), tmp_path / "run"
    assert pretrain("test_resnet", "masked_conv", data, tmp_path / "no", "-O", "square=20") == 2
    assert "two squares" in capsys.readouterr().err
    assert pretrain("test_resnet", "masked_conv", data, out, "--epochs", "2", "-O", "width=16") == 0
    assert 0 < metrics(out)["relative_error"] < 10
    assert (out / "pictures" / "rebuilt.png").is_file()
    plain = timm.create_model("test_resnet", num_classes=0)
    plain.load_state_dict(load_file(out / "model" / "backbone.safetensors"), strict=True)
    tuned = ["finetune", str(out), "--data", str(data), "--epochs", "1", "-o", str(tmp_path / "tuned")]
    assert run(tuned) == 0
