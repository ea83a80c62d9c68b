"""Stages taught apart: each sees its teacher's map, coded without loss, and learns alone; and maps meet by scale."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec
from zoo_vision.objectives.apart import RECTIFIED_VARIANCE, Apart, code_error
from zoo_vision.objectives.distill import DistillOptions, DistillTask
from zoo_vision.objectives.maps import common_scales
from zoo_vision.objectives.teacher import Teacher
from zoo_vision.timm_backbone import build_timm

INPUT = InputSpec(modality="image", size=(3, 32, 32), mean=(0.5,) * 3, std=(0.2,) * 3)
NARROW = (8, 12, 12, 24)  # channels of the teacher's stages, a quarter of the student's


def network(name: str = "test_resnet", seed: int = 0, **options):
    torch.manual_seed(seed)
    spec = ModelSpec(name=name, builder="a:b", pipeline="a:b", input=INPUT)
    return build_timm(spec, INPUT, **options)


def teacher(size: int = 0, **options) -> Teacher:
    return Teacher(network(seed=1, **(options or {"channels": NARROW})), None, 0, INPUT, size)


def task(size: int = 0, **options) -> DistillTask:
    made = DistillTask(network(), teacher(size), DistillOptions(teacher="toy", apart=0.5, **options))
    made.fit_data([{"image": images(16, seed=9)}])
    return made


def images(count: int = 4, seed: int = 5) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_maps_meet_by_scale_whatever_size_the_teacher_sees():
    same, larger = common_scales(network(), teacher()), common_scales(network(), teacher(64))
    assert [scale.grid for scale in same.values()] == [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    assert {name: (one.mine, one.theirs) for name, one in same.items()} == {
        name: (one.mine, one.theirs) for name, one in larger.items()
    }
    seeing = teacher(64)
    found = seeing(images(), layers=True)[0]
    scale = larger["64"]
    assert (scale.grid, scale.their_grid) == ((8, 8), (16, 16))
    got = scale.of_teacher(found)
    square = found.layers[scale.theirs].transpose(1, 2).reshape(4, -1, 16, 16)
    expected = F.interpolate(square, (8, 8), mode="bilinear", antialias=True).flatten(2).transpose(1, 2)
    torch.testing.assert_close(got, expected)
    constant = scale.of_teacher(
        type(found)(pooled=found.pooled, layers=tuple(torch.ones_like(x) for x in found.layers))
    )
    torch.testing.assert_close(constant, torch.ones_like(constant))


def test_codes_lose_nothing_and_are_never_negative():
    made = task()
    for name in made.apart.joints:
        scale = made.scales[name]
        wanted = torch.randn(2, scale.grid[0] * scale.grid[1], scale.their_dim)
        others = {key: torch.zeros(2, 1, made.scales[key].their_dim) for key in made.apart.joints}
        code = made.apart.codes({**others, name: wanted})[name]
        assert code.shape == (*wanted.shape[:2], scale.dim)
        assert code.min() >= 0
        half = scale.dim // 2
        directions = getattr(made.apart, f"code{name}")
        restored = (code[..., :half] - code[..., half:]) @ torch.linalg.pinv(directions).T
        torch.testing.assert_close(restored, wanted, rtol=1e-3, atol=1e-4)


def test_the_error_of_a_code_is_1_for_saying_its_mean():
    values = torch.randn(64, 500, 8, generator=torch.Generator().manual_seed(0)).clamp(min=0)
    assert float(code_error(values.mean().expand_as(values), values).mean()) == pytest.approx(1, abs=0.02)
    assert values.var().item() == pytest.approx(RECTIFIED_VARIANCE, rel=0.02)


def test_each_stage_is_given_the_code_of_the_one_below():
    made = task().eval()
    module = made.backbone.module
    image = images()
    theirs = made.their_maps(made.teacher(image, layers=True)[0])
    with torch.no_grad():
        mine, ours, entries = made.taught_apart({"image": image}, theirs)
        names = list(made.apart.joints)
        assert names == ["64", "16", "4"]
        codes = made.apart.codes({name: made.maps[name].standard(theirs[name]) for name in names})
        square = {name: code.transpose(1, 2).reshape(4, -1, *made.scales[name].grid) for name, code in codes.items()}
        stem = module.maxpool(module.act1(module.bn1(module.conv1(image))))
        made_of = {"64": module.layer1(stem), "16": module.layer2(square["64"]), "4": module.layer3(square["16"])}
        last = module.layer4(square["4"])
    for name, expected in made_of.items():
        torch.testing.assert_close(ours[name], expected.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine.pooled, last.mean((2, 3)), rtol=1e-4, atol=1e-5)
    expected = torch.stack([code_error(ours[name], codes[name]) for name in names]).mean(0)
    torch.testing.assert_close(entries, expected)
    assert not any(part._forward_hooks for part in module.modules())


def test_no_gradient_crosses_a_joint():
    made = task(layers=1e-6, logit=0.0).train()
    made({"image": images()})[0].backward()
    module = made.backbone.module
    # Features pull at the last stage alone; all else is pulled by its own map, a million times less.
    assert all(p.grad.abs().max() < 1e-3 for p in module.layer1.parameters())
    assert made.pooled.linear.bias.grad.abs().max() > 1e-2
    made.after_step(5, 10)
    torch.nn.init.normal_(made.pooled.linear.weight)
    made.zero_grad()
    made({"image": images()})[0].backward()
    assert max(p.grad.abs().max() for p in module.layer1.parameters()) > 1e-2


def test_stages_are_whole_in_evaluation_and_after_their_share_of_the_run():
    made = task()
    batch = {"image": images()}
    plain = DistillTask(made.backbone, made.teacher, DistillOptions(teacher="toy"))
    plain.load_state_dict(made.state_dict())
    with torch.no_grad():
        assert float(made.eval()(batch)[0]) == pytest.approx(float(plain.eval()(batch)[0]))
        apart, whole = float(made.train()(batch)[0]), float(plain.train()(batch)[0])
        assert abs(apart - whole) > 0.1 * whole
        made.after_step(4, 10)
        assert float(made(batch)[0]) == pytest.approx(apart)
        made.after_step(5, 10)
        assert float(made(batch)[0]) == pytest.approx(whole)
        resumed = task().train()
        resumed.load_state_dict(made.state_dict())
        assert float(resumed(batch)[0]) == pytest.approx(whole)


@pytest.mark.parametrize("size", [0, 64])
def test_stages_learn_apart_and_then_do_together(size):
    made = task(size=size, logit=0.0).train()
    batch = {"image": images(16)}
    optimizer = torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(80):
        optimizer.zero_grad()
        loss, count, _, _ = made(batch)
        (loss / count).backward()
        optimizer.step()
        made.after_step(step + 1, 80)
        losses.append(float((loss / count).detach()))
    assert losses[39] < 0.6 * losses[0]
    assert losses[-1] < 0.6 * losses[41]


def test_what_cannot_be_taught_apart():
    with pytest.raises(UsageError, match="less than twice the teacher's"):
        Apart(network(), common_scales(network(), teacher(channels=(32, 48, 48, 96))))
    with pytest.raises(UsageError, match="does not show which of its modules"):
        Apart(network("test_vit"), common_scales(network("test_vit"), teacher()))
    for wrong in ({"apart": 1.0}, {"apart": -0.1}, {"apart": 0.5, "layers": 0.0}):
        with pytest.raises(UsageError, match="apart"):
            DistillOptions(teacher="toy", **wrong)
