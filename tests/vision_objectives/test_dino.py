from __future__ import annotations

import math

import pytest
import timm
import torch
from joint_toys import INPUT, PIPELINE, Toy, batch_of, built, canvases, config, groups_of

from zoo.engine.optim import check_groups
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec
from zoo_vision.objectives.any_size import accept_size
from zoo_vision.objectives.dino import (
    DinoHead,
    DinoOptions,
    agreement,
    dino_view,
    statistics_kept,
    teacher_temperature,
)
from zoo_vision.timm_backbone import TimmBackbone


def test_the_loss_equals_a_slow_reference() -> None:
    draw = torch.Generator().manual_seed(0)
    wanted = torch.randn(3, 2, 5, generator=draw).softmax(dim=-1)
    guess = torch.randn(3, 6, 5, generator=draw).log_softmax(dim=-1)
    found = agreement(wanted, guess)
    for row in range(3):
        pairs = [(g, v) for g in range(2) for v in range(6) if g != v]
        assert len(pairs) == 10
        total = 0.0
        for g, v in pairs:
            total -= sum(p * q for p, q in zip(wanted[row, g].tolist(), guess[row, v].tolist(), strict=True))
        assert found[row].item() == pytest.approx(total / len(pairs), abs=1e-5)


def test_the_task_s_loss_is_that_of_its_parts() -> None:
    task, batch = built("dino").train(), batch_of("dino", 4)
    task.centre.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.1)
    assert batch["image"].shape == (4, 2, 3, 12, 12)
    assert batch["locals"].shape == (4, 2, 3, 6, 6)
    loss, count, logs, outputs = task(batch)
    assert outputs is None
    total = entropy = 0.0
    loss = loss.detach()
    task.requires_grad_(False)
    for row in range(4):
        views = [*batch["image"][row], *batch["locals"][row]]
        said, guessed = [], []
        for place, image in enumerate(views):
            student = task.student_head(task.student({"image": image[None]}).pooled)[0] / 0.1
            guessed.append(student.log_softmax(dim=0))
            if place < 2:
                teacher = task.head(task.backbone({"image": image[None]}).pooled)[0]
                said.append(((teacher - task.centre) / 0.04).softmax(dim=0))
                entropy -= float((said[-1] * said[-1].log()).sum())
        total -= sum(float((said[g] * guessed[v]).sum()) for g in range(2) for v in range(4) if g != v) / 6
    assert count.item() == 4
    assert loss.item() == pytest.approx(total, rel=1e-4)
    assert logs["teacher_entropy"].item() == pytest.approx(entropy / 8, rel=1e-3)


def test_the_centre_follows_the_mean_of_all_outputs_of_a_step() -> None:
    whole, pieces = built("dino").train(), built("dino").train()
    batch = batch_of("dino", 6)
    outputs = whole.head(whole.backbone({"image": batch["image"].flatten(0, 1)}).pooled)
    whole(batch)
    for start in (0, 2, 4):
        pieces({key: tensor[start : start + 2] for key, tensor in batch.items()})
    for task in (whole, pieces):
        before = task.centre.clone()
        task.after_step(1, 10)
        torch.testing.assert_close(task.centre, 0.9 * before + 0.1 * outputs.mean(dim=0))
        assert task.centre.abs().sum() > 0
        assert task.seen == task.outputs.abs().sum() == 0
    task.eval()(batch)
    assert task.seen == 0  # evaluations leave no trace


def test_prototypes_stay_at_first() -> None:
    task = built("dino", freeze=0.3).train()
    for share, moves in ((0.0, False), (0.2, False), (0.3, True), (0.9, True)):
        task.share.fill_(share)
        task.zero_grad()
        task(batch_of("dino"))[0].backward()
        assert bool(task.student_head.prototypes.grad.abs().sum() > 0) == moves
        assert task.student_head.body[0].weight.grad.abs().sum() > 0


def test_the_teacher_warms_up() -> None:
    options = DinoOptions(teacher_temperature=0.07, warm_up=0.5)
    for share, wanted in ((0.0, 0.04), (0.25, 0.055), (0.5, 0.07), (1.0, 0.07)):
        assert teacher_temperature(torch.tensor(share), options).item() == pytest.approx(wanted)
    assert teacher_temperature(torch.tensor(0.0), DinoOptions(warm_up=0.0)).item() == pytest.approx(0.04)


def test_the_teacher_is_what_the_run_leaves_behind() -> None:
    task = built("dino").train()
    assert not any(parameter.requires_grad for parameter in task.backbone.parameters())
    assert not task.backbone.training
    assert task.student.training
    check_groups(task, groups_of(task))
    before = task.backbone.module[0].weight.clone()
    with torch.no_grad():
        task.student.module[0].weight.add_(1.0)
    task.after_step(5, 10)  # half way: momentum 0.9
    torch.testing.assert_close(task.backbone.module[0].weight, before + 0.1)


def test_prototypes_have_length_one() -> None:
    head = built("dino").student_head
    wild = torch.randn(7, 6)
    small = head(wild)
    with torch.no_grad():
        head.prototypes.mul_(100)
    torch.testing.assert_close(head(wild), small)
    assert small.abs().max() <= 1 + 1e-6
    assert small.shape == (7, 11)


def test_a_step_turns_prototypes_as_it_turns_other_layers() -> None:
    head = DinoHead(8, DinoOptions(hidden=8, prototypes=16))
    before = head.prototypes.detach().clone()
    optimizer = torch.optim.AdamW([head.prototypes], lr=1e-3, weight_decay=0.0)
    head(torch.randn(32, 8))[:, 0].sum().backward()
    optimizer.step()
    cosine = torch.cosine_similarity(before[0], head.prototypes[0], dim=0).clamp(max=1)
    assert cosine.arccos().item() > 0.01  # radians; 0.001 where they begin with a length of 16


def test_the_head_is_blind_to_what_all_features_have_in_common() -> None:
    head, features = built("dino").student_head, torch.randn(5, 6)
    torch.testing.assert_close(head(features + 10), head(features), rtol=1e-4, atol=1e-5)


def test_small_views_leave_no_running_statistics() -> None:
    backbone = Toy(norm=True).train()
    image = torch.randn(8, 3, 12, 12) + 3
    before = backbone.module[1].running_mean.clone()
    with statistics_kept(backbone):
        inside = backbone({"image": image}).pooled
    assert torch.equal(backbone.module[1].running_mean, before)
    torch.testing.assert_close(backbone({"image": image}).pooled, inside)  # the batch's own were used
    assert not torch.equal(backbone.module[1].running_mean, before)


def timm_backbone(name: str, side: int, **options: object) -> TimmBackbone:
    torch.manual_seed(0)
    input = InputSpec(modality="image", size=(3, side, side), mean=INPUT.mean, std=INPUT.std)
    module = timm.create_model(name, num_classes=0, **options)
    return TimmBackbone(module.eval(), ModelSpec(name=name, builder="a:b", pipeline="a:b", input=input), input)


def test_a_plain_vit_takes_small_crops_as_timm_s_dynamic_one_does() -> None:
    ours = timm_backbone("test_vit3", 64, img_size=64, dynamic_img_size=False)
    theirs = timm_backbone("test_vit3", 64, img_size=64, dynamic_img_size=True)
    keys = list(ours.module.state_dict())
    draw = torch.Generator().manual_seed(0)
    large, small = (torch.randn(2, 3, side, side, generator=draw) for side in (64, 32))
    before = ours({"image": large}, ("tokens",))
    with pytest.raises(AssertionError):
        ours({"image": small})
    accept_size(ours, (32, 32))
    assert list(ours.module.state_dict()) == keys
    assert torch.equal(ours({"image": large}).pooled, before.pooled)
    assert torch.equal(ours({"image": large}, ("tokens",)).tokens, before.tokens)
    torch.testing.assert_close(ours({"image": small}).pooled, theirs({"image": small}).pooled)


def test_a_backbone_of_one_size_is_refused_with_what_it_lacks() -> None:
    backbone = timm_backbone("cait_xxs24_224", 224, img_size=224, depth=1, depth_token_only=1)
    with pytest.raises(UsageError, match="dynamic_img_size") as caught:
        accept_size(backbone, (112, 112))
    assert caught.value.exit_code == 2
    assert "local_views=0" in str(caught.value)
    accept_size(backbone, (224, 224))


def test_no_small_views_are_made_where_none_are_asked_for() -> None:
    task = built("dino", local_views=0).train()
    batch = dino_view(PIPELINE, config(local_views=0)).prepare(canvases(3))
    assert "locals" not in batch
    loss, count, _, outputs = task.eval()(batch)
    assert math.isfinite(loss.item() / count.item())
    assert outputs.shape == (3, 6)
