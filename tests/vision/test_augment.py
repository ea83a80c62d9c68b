"""The on-device augmentation against a slow per-pixel reference, and what each draw may depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec
from zoo_vision.augment import Augmentation
from zoo_vision.pipeline import ImagePipeline

SPEC = InputSpec(modality="image", size=(3, 14, 12), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), crop_pct=0.8)
PLAIN = Augmentation(crop_scale=(1, 1), crop_ratio=(1, 1), flip=0, jitter=(0, 0, 0))


class FixedDraws:
    """Numbers from the sample's id and the stream's name, kept so that a reference can read them."""

    def __init__(self, ids: list[int], device: str = "cpu") -> None:
        self.ids, self.device = ids, device

    def uniform(self, stream: str, size: int) -> Tensor:
        rows = [np.random.default_rng([i, *stream.encode()]).random(size, np.float32) for i in self.ids]
        return torch.from_numpy(np.stack(rows)).to(self.device)


class Constant:
    """The same number for every draw."""

    def __init__(self, batch: int, value: float) -> None:
        self.batch, self.value = batch, value

    def uniform(self, stream: str, size: int) -> Tensor:
        return torch.full((self.batch, size), self.value)


def canvases(batch: int, spec: InputSpec = SPEC) -> Tensor:
    shape = ImagePipeline(spec).shape
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (batch, *shape), dtype=np.uint8))


def augmented(canvas: Tensor, draws: Any, augmentation: Augmentation, spec: InputSpec = SPEC) -> Tensor:
    batch = {"image": canvas, "index": torch.arange(len(canvas), device=canvas.device)}
    return ImagePipeline(spec, augmentation=augmentation).augment(batch, draws)["image"]


def reference(canvas: np.ndarray, draws: dict[str, np.ndarray], a: Augmentation, spec: InputSpec) -> np.ndarray:
    """One image, one pixel at a time, in float64."""
    channels, canvas_h, canvas_w = canvas.shape
    out_h, out_w = spec.size[1:]
    u = draws["crop"]
    area = (a.crop_scale[0] + u[0] * (a.crop_scale[1] - a.crop_scale[0])) * canvas_h * canvas_w
    low, high = math.log(a.crop_ratio[0]), math.log(a.crop_ratio[1])
    ratio = math.exp(low + u[1] * (high - low))
    width, height = min(math.sqrt(area * ratio), canvas_w), min(math.sqrt(area / ratio), canvas_h)
    left, top = u[2] * (canvas_w - width), u[3] * (canvas_h - height)

    def pixel(c: int, y: float, x: float) -> float:
        y0, x0 = math.floor(y), math.floor(x)
        total = 0.0
        for yy, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
            for xx, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
                inside_y, inside_x = min(max(yy, 0), canvas_h - 1), min(max(xx, 0), canvas_w - 1)
                total += wy * wx * float(canvas[c, inside_y, inside_x])
        return total / 255

    out = np.zeros((channels, out_h, out_w))
    for c in range(channels):
        for i in range(out_h):
            for j in range(out_w):
                column = out_w - 1 - j if draws["flip"][0] < a.flip else j
                y = top + (i + 0.5) * height / out_h - 0.5
                x = left + (column + 0.5) * width / out_w - 0.5
                out[c, i, j] = pixel(c, y, x)

    weights = np.array([0.299, 0.587, 0.114] if channels == 3 else [1.0])
    brightness, contrast, saturation = (1 + s * (2 * v - 1) for s, v in zip(a.jitter, draws["jitter"], strict=True))
    out = out * brightness
    out = contrast * out + (1 - contrast) * np.tensordot(weights, out, 1).mean()
    out = saturation * out + (1 - saturation) * np.tensordot(weights, out, 1)
    out = out.clip(0, 1)
    out = (out - np.array(spec.mean)[:, None, None]) / np.array(spec.std)[:, None, None]

    if a.erase and draws["erase"][0] < a.erase:
        e = draws["erase"]
        area = (a.erase_scale[0] + e[1] * (a.erase_scale[1] - a.erase_scale[0])) * out_h * out_w
        low, high = math.log(a.erase_ratio[0]), math.log(a.erase_ratio[1])
        ratio = math.exp(low + e[2] * (high - low))
        width, height = min(math.sqrt(area * ratio), out_w), min(math.sqrt(area / ratio), out_h)
        left, top = e[3] * (out_w - width), e[4] * (out_h - height)
        for i in range(out_h):
            for j in range(out_w):
                if top <= i + 0.5 < top + height and left <= j + 0.5 < left + width:
                    out[:, i, j] = 0
    return out


@pytest.mark.parametrize(
    ("augmentation", "spec"),
    [
        (Augmentation(), SPEC),
        (Augmentation(crop_scale=(0.1, 0.4), crop_ratio=(0.5, 2.0), jitter=(0.9, 0.9, 1.0), erase=0.7), SPEC),
        (Augmentation(crop_scale=(0.9, 1.0), crop_ratio=(0.3, 3.0), flip=1.0, jitter=(0.4, 0.0, 0.0)), SPEC),
        (Augmentation(erase=1.0), InputSpec(modality="image", size=(1, 11, 9), mean=(0.5,), std=(0.2,), crop_pct=0.9)),
    ],
)
def test_a_batch_equals_the_slow_reference_on_each_image(augmentation: Augmentation, spec: InputSpec) -> None:
    ids = list(range(40, 48))
    canvas = canvases(len(ids), spec)
    ours = augmented(canvas, FixedDraws(ids), augmentation, spec)
    assert ours.dtype == torch.float32
    assert ours.shape == (len(ids), *spec.size)
    sizes = {"crop": 4, "flip": 1, "jitter": 3, "erase": 5}
    for row, sample in enumerate(ids):
        draws = {name: FixedDraws([sample]).uniform(name, size)[0].numpy() for name, size in sizes.items()}
        slow = reference(canvas[row].numpy(), draws, augmentation, spec)
        assert np.abs(ours[row].numpy() - slow).max() < 1e-4


def test_a_sample_looks_the_same_in_any_batch() -> None:
    canvas = canvases(6)
    strong = Augmentation(erase=0.5)
    whole = augmented(canvas, FixedDraws(list(range(6))), strong)
    for order in ([3], [5, 3, 0], [3, 4]):
        part = augmented(canvas[order], FixedDraws(order), strong)
        torch.testing.assert_close(part, whole[order], rtol=0, atol=1e-5)


def test_samples_of_one_batch_are_varied_differently() -> None:
    canvas = canvases(1).expand(8, -1, -1, -1)
    out = augmented(canvas, FixedDraws(list(range(8))), Augmentation())
    distances = torch.cdist(out.flatten(1), out.flatten(1)) + 100 * torch.eye(8)
    assert distances.min() > 1


def test_no_augmentation_is_the_evaluation_transform_without_its_crop() -> None:
    spec = InputSpec(modality="image", size=(3, 16, 16), mean=SPEC.mean, std=SPEC.std, crop_pct=1.0)
    canvas = canvases(3, spec)
    prepared = ImagePipeline(spec).prepare({"image": canvas})["image"]
    torch.testing.assert_close(augmented(canvas, Constant(3, 0.5), PLAIN, spec), prepared, rtol=0, atol=1e-5)
    flip = Augmentation(crop_scale=(1, 1), crop_ratio=(1, 1), flip=1.0, jitter=(0, 0, 0))
    torch.testing.assert_close(augmented(canvas, Constant(3, 0.5), flip, spec), prepared.flip(3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.5, 1 - 2**-24])
def test_extreme_draws_stay_inside_the_canvas_and_finite(value: float) -> None:
    canvas = torch.full((2, *ImagePipeline(SPEC).shape), 128, dtype=torch.uint8)
    still = Augmentation(crop_scale=(0.01, 1.0), crop_ratio=(0.2, 5.0), jitter=(0, 0, 0))
    out = augmented(canvas, Constant(2, value), still)
    expected = (128 / 255 - torch.tensor(SPEC.mean)) / torch.tensor(SPEC.std)
    torch.testing.assert_close(out, expected[:, None, None].expand_as(out), rtol=0, atol=1e-5)


def test_the_batch_is_left_as_it_was_and_other_entries_pass_through() -> None:
    canvas = canvases(2)
    before = canvas.clone()
    batch = {"image": canvas, "label": torch.tensor([1, 0])}
    out = ImagePipeline(SPEC).augment(batch, FixedDraws([0, 1]))
    assert out["label"] is batch["label"]
    assert batch["image"] is canvas
    assert torch.equal(canvas, before)


def test_autocast_does_not_coarsen_colours() -> None:
    canvas = canvases(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = augmented(canvas, FixedDraws([0, 1, 2, 3]), Augmentation())
    assert torch.equal(inside, augmented(canvas, FixedDraws([0, 1, 2, 3]), Augmentation()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_images() -> None:
    canvas = canvases(8)
    strong = Augmentation(erase=0.5)
    cpu = augmented(canvas, FixedDraws(list(range(8))), strong)
    cuda = augmented(canvas.cuda(), FixedDraws(list(range(8)), "cuda"), strong)
    assert cuda.is_cuda
    torch.testing.assert_close(cuda.cpu(), cpu, rtol=0, atol=1e-4)
    pipeline = ImagePipeline(SPEC)
    prepared = pipeline.prepare({"image": canvas.cuda()})["image"].cpu()
    torch.testing.assert_close(prepared, pipeline.prepare({"image": canvas})["image"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"crop_scale": (0.0, 1.0)},
        {"crop_scale": (0.8, 0.3)},
        {"crop_scale": (0.5, 1.5)},
        {"crop_ratio": (0.0, 1.0)},
        {"flip": 1.5},
        {"erase": -0.1},
        {"jitter": (0.1, 0.2, 3.0)},
        {"erase_ratio": (2.0, 1.0)},
    ],
)
def test_ranges_without_meaning_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Augmentation(**options)
