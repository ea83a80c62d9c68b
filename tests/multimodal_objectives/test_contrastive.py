from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from pair_toys import batch, config, dual
from torch import Tensor

from zoo.engine.batchnorm import training_mode
from zoo.engine.optim import check_groups, layerwise_groups
from zoo.protocols import Backbone, Coupled, DualEncoder
from zoo_multimodal.objectives.clip import build_clip
from zoo_multimodal.objectives.contrastive import HOTTEST
from zoo_multimodal.objectives.siglip import build_siglip
from zoo_registry.errors import UsageError

BUILDERS = {"clip": build_clip, "siglip": build_siglip}


def vectors_of(task: Any, rows: int = 6) -> Tensor:
    vectors = task(batch(rows), "vectors")[3]
    assert vectors.shape == (rows, 2, 5)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(rows, 2))
    return vectors


def test_clip_equals_a_slow_reference_and_open_clip() -> None:
    task = build_clip(dual(), None, config())
    vectors = vectors_of(task).detach()
    loss, count, logs = task.couple(vectors)
    scale, total = math.exp(float(task.backbone.logit_scale.detach())), 0.0
    assert scale == pytest.approx(1 / 0.07, rel=1e-5)
    for i in range(6):
        there = [scale * float(vectors[i, 0] @ vectors[j, 1]) for j in range(6)]
        back = [scale * float(vectors[j, 0] @ vectors[i, 1]) for j in range(6)]
        for logits in (there, back):
            total += (math.log(sum(math.exp(value) for value in logits)) - logits[i]) / 2
    assert count == 6
    assert loss.item() == pytest.approx(total, abs=1e-4)
    assert (loss / count).item() == pytest.approx(ClipLoss()(vectors[:, 0], vectors[:, 1], scale).item(), abs=1e-5)
    assert float(logs["logit_scale"]) == pytest.approx(scale, rel=1e-5)


def test_siglip_equals_a_slow_reference_and_open_clip() -> None:
    task = build_siglip(dual(), None, config())
    vectors = vectors_of(task).detach()
    loss, count, _ = task.couple(vectors)
    total = 0.0
    for i in range(6):
        for j in range(6):
            logit = 10 * float(vectors[i, 0] @ vectors[j, 1]) - 10
            total += math.log1p(math.exp(-logit if i == j else logit))
    assert loss.item() == pytest.approx(total, abs=1e-4)
    theirs = SigLipLoss()(vectors[:, 0], vectors[:, 1], torch.tensor(10.0), torch.tensor(-10.0))
    assert (loss / count).item() == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_parameter_learns_through_the_vectors(name: str) -> None:
    task = BUILDERS[name](dual(), None, config())
    assert isinstance(task, Coupled)
    assert task.batch_coupled
    task.couple(vectors_of(task))[0].backward()
    assert {key for key, parameter in task.named_parameters() if parameter.grad is None} == set()
    check_groups(task, {"main": layerwise_groups(task.layer_groups(), weight_decay=0.1)})


def test_the_scale_stays_within_bounds() -> None:
    task = build_clip(dual(), None, config())
    for wild, kept in ((9.0, HOTTEST), (-1.0, 0.0), (2.0, 2.0)):
        task.backbone.logit_scale.data.fill_(wild)
        task.after_step(1, 2)
        assert float(task.backbone.logit_scale.detach()) == pytest.approx(kept)


@pytest.mark.parametrize("lock", ["image", "text"])
def test_a_locked_tower_stays_as_it_is(lock: str) -> None:
    task = build_clip(dual(norm=True), None, config(lock=lock))
    training_mode(task, "train")
    other = "text" if lock == "image" else "image"
    before = {key: value.clone() for key, value in task.backbone.towers[lock].state_dict().items()}
    groups = layerwise_groups(task.layer_groups(), weight_decay=0.1)
    check_groups(task, {"main": groups})
    optimizer = torch.optim.AdamW([p for group in groups for _, p in group.params], lr=0.1)
    moved = task.backbone.towers[other].projection.weight.clone()
    task.couple(vectors_of(task))[0].backward()
    optimizer.step()
    for key, value in task.backbone.towers[lock].state_dict().items():
        assert torch.equal(value, before[key])
    assert not torch.equal(moved, task.backbone.towers[other].projection.weight)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="audio"):
        build_clip(dual(), None, config(lock="audio"))
    with pytest.raises(UsageError, match="crop is 0"):
        build_clip(dual(), None, config(crop=0))
    task = build_clip(dual(), None, config())
    with pytest.raises(UsageError, match="one pair"):
        task.couple(vectors_of(task, 1))
    assert task(batch(1))[0].item() == pytest.approx(0.0, abs=1e-6)  # the rest of a split may be one pair


def test_a_bias_travels_with_the_weights_and_is_gone_on_with() -> None:
    trained = build_siglip(dual(), None, config())
    trained.backbone.logit_bias.data.fill_(-3.0)
    trained.backbone.logit_scale.data.fill_(1.0)
    fresh = dual()
    fresh.module.load_state_dict(trained.backbone.module.state_dict(), strict=True)
    again = build_siglip(fresh, None, config())
    assert float(again.backbone.logit_bias.detach()) == -3.0
    assert float(again.backbone.logit_scale.detach()) == 1.0
    whole = dual()
    whole.load_state_dict(trained.backbone.state_dict(), strict=True)
    assert float(whole.logit_bias.detach()) == -3.0


def test_siglip_brings_a_bias_where_a_backbone_can_have_none() -> None:
    class Fixed(type(dual())):  # type: ignore[misc]
        add_bias = property()

    backbone = dual()
    backbone.__class__ = Fixed
    task = build_siglip(backbone, None, config())
    assert "bias" in dict(task.named_parameters())
    task.couple(vectors_of(task))[0].backward()
    assert task.bias.grad is not None


def test_dual_backbone_keeps_its_contract() -> None:
    backbone = dual(("image", "audio"))
    assert isinstance(backbone, DualEncoder)
    assert isinstance(backbone, Backbone)
    sides = backbone.towers
    for modality in ("image", "audio"):
        assert isinstance(sides[modality], Backbone)
    rows = batch(sides=("image", "audio"))
    pooled = backbone(rows).pooled
    for place, (modality, name) in enumerate((("image", "image"), ("audio", "waveform"))):
        own = {name: rows[f"{modality}.{name}"]}
        bare = sides[modality](own).pooled
        assert bare.shape == (6, 5)
        assert not torch.allclose(bare.norm(dim=-1), torch.ones(6))
        torch.testing.assert_close(backbone.encode(modality, own), pooled[:, place])
        torch.testing.assert_close(bare / bare.norm(dim=-1, keepdim=True), pooled[:, place])
    grouped = [name for _, members in backbone.layer_groups() for name, _ in members]
    assert sorted(grouped) == sorted(name for name, _ in backbone.named_parameters())
    assert [title for title, _ in backbone.layer_groups()] == [
        "image: body",
        "image: projection",
        "audio: body",
        "audio: projection",
        "logits",
    ]
    assert set(backbone.module.state_dict()) == {
        "image.backbone.0.weight",
        "image.backbone.0.bias",
        "image.projection.weight",
        "audio.backbone.0.weight",
        "audio.backbone.0.bias",
        "audio.projection.weight",
        "logit_scale",
    }
    assert set(backbone.example_inputs(3)) == {"image.image", "audio.waveform"}
