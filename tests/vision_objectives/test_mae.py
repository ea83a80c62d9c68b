"""The masked autoencoder of ViTs: what is seen, what is hidden, and the loss against loops over patches."""

from __future__ import annotations

import pytest
import timm
import torch
from finetuning import write_photos
from generative_toys import augmented, canvases, config, contract, metrics, network, pretrain, same_in_pieces
from safetensors.torch import load_file
from torch import nn

from zoo.cli.main import run
from zoo.protocols import PatchMaskable
from zoo_registry.errors import UsageError
from zoo_vision.objectives.keyed import shuffled
from zoo_vision.objectives.mae import MaeOptions, MaeTask, build_mae, mae_view, places
from zoo_vision.objectives.pixels import patchify, unpatchify
from zoo_vision.pipeline import ImagePipeline

SMALL = {"width": 32, "layers": 1}


def task(size: int = 64, **options) -> MaeTask:
    made = MaeTask(network("test_vit", size), contract(size), MaeOptions(**SMALL, **options))
    return made.eval()


def batch(size: int = 64, count: int = 4):
    return augmented(mae_view(ImagePipeline(contract(size)), config()), canvases(count, size))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_vit", {}),
        ("test_vit", {"dynamic_img_size": True}),
        ("test_vit", {"reg_tokens": 3}),
        ("test_vit", {"no_embed_class": True, "pre_norm": True}),
        ("test_vit", {"class_token": False, "global_pool": "avg"}),
        ("test_vit2", {}),
        ("deit_tiny_distilled_patch16_224", {}),
    ],
)
def test_with_every_patch_visible_it_is_the_whole_forward(name, options):
    backbone = network(name, 64, **options).eval()
    assert isinstance(backbone, PatchMaskable)
    image = torch.randn(2, 3, 64, 64)
    whole = backbone.module.forward_features(image)
    prefix = backbone.module.num_prefix_tokens
    order = torch.stack([torch.randperm(whole.shape[1] - prefix) for _ in range(2)])
    found = backbone.encode_visible(image, order)
    expected = torch.stack([torch.cat([row[:prefix], row[prefix:][at]]) for row, at in zip(whole, order, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_hidden_pixels_are_not_known():
    backbone = network("test_vit", 64).eval()
    image, visible = torch.randn(1, 3, 64, 64), torch.tensor([[0, 5, 10]])
    other = image.clone()
    other[:, :, :16, 16:32] += 9.0  # patch 1
    assert torch.equal(backbone.encode_visible(image, visible), backbone.encode_visible(other, visible))
    other[:, :, 16:32, 16:32] += 9.0  # patch 5
    assert not torch.equal(backbone.encode_visible(image, visible), backbone.encode_visible(other, visible))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit_relpos", "test_convnext"])
def test_others_do_not_claim_it(name):
    assert not isinstance(network(name, 64), PatchMaskable)


@torch.no_grad()
@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_that_of_loops_over_hidden_patches(normalise):
    made, given = task(normalise=normalise), batch()
    made.fit_data([given])
    loss, count, _, sums = made(given)
    image = given["image"]
    order = shuffled(given["key"], "mae", 16)
    tokens = made.backbone.encode_visible(image, order[:, :4])
    guess = made.decoder(tokens, order[:, :4])
    expected, held_against = 0.0, 0.0
    targets = torch.zeros(4, 16, 768)
    for b in range(4):
        for n in range(16):
            row, column = 16 * (n // 4), 16 * (n % 4)
            patch = image[b, :, row : row + 16, column : column + 16].permute(1, 2, 0).flatten()
            targets[b, n] = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt() if normalise else patch
    for b in range(4):
        for n in order[b, 4:].tolist():
            expected += float(((guess[b, n] - targets[b, n]) ** 2).mean())
            held_against += float(((targets[:, n].mean(0) - targets[b, n]) ** 2).mean())
    assert float(count) == 4 * 12
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    counter = made.metrics()
    counter.update(sums, given)
    assert counter.compute()["relative_error"] == pytest.approx(expected / held_against, rel=1e-3)


def test_the_decoder_puts_tokens_where_they_belong():
    made = task()
    decoder = made.decoder
    decoder.blocks, decoder.exit = nn.Sequential(), nn.Identity()
    tokens, visible = torch.randn(1, 1 + 2, 64), torch.tensor([[9, 2]])
    whole = decoder(tokens, visible)[0]
    entered, at = decoder.entry(tokens)[0], places(4, 4, 32)
    for n in range(16):
        token = {9: entered[1], 2: entered[2]}.get(n, decoder.hidden)
        torch.testing.assert_close(whole[n], token + at[n])
    assert len({tuple(row.tolist()) for row in at}) == 16


@pytest.mark.parametrize(("ratio", "kept"), [(0.75, 4), (0.5, 8), (0.6, 6), (0.999, 1), (0.001, 15)])
def test_the_ratio_is_exact(ratio, kept):
    made, given = task(ratio=ratio), batch()
    _, hidden, shown = made.rebuild(given)
    assert hidden.sum(dim=1).tolist() == [16 - kept] * 4
    blank = patchify(shown, (16, 16)).abs().amax(dim=2) == 0
    assert torch.equal(blank, hidden)


def test_masks_are_of_the_draws_alone():
    view = mae_view(ImagePipeline(contract(64)), config())
    keys = [augmented(view, canvases(4, 64), epoch)["key"] for epoch in (0, 0, 1)]
    first, again, later = (shuffled(key, "mae", 16) for key in keys)
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert len({tuple(row) for row in first.tolist()}) == 4
    evaluated = [view.prepare(canvases(4, 64))["key"] for _ in range(2)]
    assert torch.equal(*evaluated)


def test_pieces_of_a_batch_make_the_same_loss():
    same_in_pieces(task(), mae_view(ImagePipeline(contract(64)), config()), canvases(8, 64))


def test_patches_fit_together_again():
    image = torch.randn(2, 3, 34, 50)
    patches = patchify(image, (16, 8))
    assert patches.shape == (2, 2 * 6, 16 * 8 * 3)
    torch.testing.assert_close(patches[1, 7].view(16, 8, 3), image[1, :, 16:32, 8:16].permute(1, 2, 0))
    other = unpatchify(patches, (16, 8), torch.zeros_like(image))
    assert torch.equal(other[:, :, :32, :48], image[:, :, :32, :48])
    assert not other[:, :, 32:].any()


def test_what_it_shows():
    made, given = task(), batch()
    shown = made.show(given)["rebuilt"]
    assert shown.shape == (4, 3, 64, 3 * 64)
    assert shown.dtype == torch.uint8
    original, _, rebuilt = shown.split(64, dim=3)
    _, hidden, _ = made.rebuild(given)
    same = patchify(original, (16, 16)) == patchify(rebuilt, (16, 16))
    assert same[~hidden].all()
    assert not same[hidden].all()


def test_it_learns():
    made, given = task(ratio=0.5).train(), batch()
    made.fit_data([given])
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss, count, _, _ = made(given)
        (loss / count).backward()
        optimizer.step()
        losses.append(float(loss / count))
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    "wrong", [{"ratio": 0.0}, {"ratio": 1.0}, {"width": 33}, {"layers": 0}, {"crop": 0.0}, {"normalise": "yes"}]
)
def test_settings_that_mean_nothing(wrong):
    with pytest.raises(UsageError):
        MaeOptions(**wrong)


def test_one_patch_cannot_be_hidden():
    with pytest.raises(UsageError, match="one patch"):
        build_mae(network("test_vit", 16), ImagePipeline(contract(16)), config(**SMALL))


def test_a_run_hands_over(tmp_path):
    data, out = write_photos(tmp_path / "photos", train=8, val=4), tmp_path / "run"
    assert pretrain("test_vit", "mae", data, out, "--epochs", "2", "-O", "width=32", "-O", "layers=1") == 0
    assert 0 < metrics(out)["relative_error"] < 10
    assert (out / "pictures" / "rebuilt.png").is_file()
    plain = timm.create_model("test_vit", num_classes=0, img_size=32)
    plain.load_state_dict(load_file(out / "model" / "backbone.safetensors"), strict=True)
    tuned = ["finetune", str(out), "--data", str(data), "--epochs", "1", "-o", str(tmp_path / "tuned")]
    assert run(tuned) == 0


def test_a_convolutional_network_lacks_what_it_needs(tmp_path, capsys):
    data = write_photos(tmp_path / "photos", train=2, val=2)
    assert pretrain("test_resnet", "mae", data, tmp_path / "run") == 2
    assert "PatchMaskable" in capsys.readouterr().err
