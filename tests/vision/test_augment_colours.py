"""Hue, grey, blur and solarisation against what other libraries or a loop make of the same draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec
from zoo_vision.augment import Augmentation, hue_matrices
from zoo_vision.pipeline import ImagePipeline

SPEC = InputSpec(modality="image", size=(3, 40, 36), mean=(0, 0, 0), std=(1, 1, 1), crop_pct=1.0)
PLAIN: dict[str, Any] = {"crop_scale": (1, 1), "crop_ratio": (0.9, 0.9), "flip": 0, "jitter": (0, 0, 0)}
LUMA = np.array([0.299, 0.587, 0.114])


def images(count: int = 8) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, *ImagePipeline(SPEC).shape), np.uint8))


def varied(draws: HashDraws, **settings: Any) -> np.ndarray:
    batch = {"image": images(len(draws.index)), "index": draws.index}
    return ImagePipeline(SPEC, Augmentation(**{**PLAIN, **settings})).augment(batch, draws)["image"].numpy()


@pytest.fixture
def draws() -> HashDraws:
    return HashDraws(1, 0, torch.arange(8))


@pytest.fixture
def before(draws: HashDraws) -> np.ndarray:
    return varied(draws)


def test_hue_turns_colour_and_keeps_grey(draws: HashDraws, before: np.ndarray) -> None:
    after = varied(draws, hue=0.3)
    to_yiq = np.array([LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)])
    for row in range(8):
        angle = 2 * math.pi * 0.3 * (2 * draws.uniform("hue", 1)[row, 0].item() - 1)
        y, i, q = np.tensordot(to_yiq, before[row], 1)
        turned = complex(math.cos(angle), math.sin(angle)) * (i + 1j * q)
        slow = np.tensordot(np.linalg.inv(to_yiq), np.stack([y, turned.real, turned.imag]), 1)
        assert np.abs(after[row] - slow.clip(0, 1)).max() < 1e-4
    grey = hue_matrices(torch.tensor([0.7, 2.0])) @ torch.ones(3)
    torch.testing.assert_close(grey, torch.ones(2, 3), atol=1e-5, rtol=0)


def test_grey_and_the_share_that_is_jittered_follow_their_draws(draws: HashDraws, before: np.ndarray) -> None:
    after = varied(draws, grey=0.5, jitter=(0.4, 0.4, 0.4), hue=0.1, jitter_share=0.5)
    grey = draws.uniform("grey", 1)[:, 0] < 0.5
    jittered = draws.uniform("jittered", 1)[:, 0] < 0.5
    assert {(bool(g), bool(j)) for g, j in zip(grey, jittered, strict=True)} >= {(True, False), (False, False)}
    for row in range(8):
        assert (np.ptp(after[row], axis=0).max() < 1e-4) == bool(grey[row])
        if not jittered[row]:
            slow = np.tensordot(LUMA, before[row], 1)[None] if grey[row] else before[row]
            assert np.abs(after[row] - slow).max() < 1e-4


def test_blur_is_a_gaussian_filter(draws: HashDraws, before: np.ndarray) -> None:
    after = varied(draws, blur=0.6, blur_sigma=(2.0, 9.0))
    u = draws.uniform("blur", 2).numpy()
    assert (u[:, 0] < 0.6).any()
    assert not (u[:, 0] < 0.6).all()
    radius = math.ceil(3 * 9.0 * 40 / 224)
    for row in range(8):
        slow = before[row]
        if u[row, 0] < 0.6:
            sigma = (2 + u[row, 1] * 7) * 40 / 224
            for axis in (1, 2):
                slow = gaussian_filter1d(slow, sigma, axis=axis, mode="nearest", radius=radius)
        assert np.abs(after[row] - slow).max() < 1e-4


def test_solarisation_is_pil_s(draws: HashDraws, before: np.ndarray) -> None:
    after = varied(draws, solarise=0.5)
    drawn = draws.uniform("solarise", 1)[:, 0] < 0.5
    assert 0 < drawn.sum() < 8
    for row in range(8):
        if not drawn[row]:
            assert np.array_equal(after[row], before[row])
            continue
        picture = Image.fromarray((before[row] * 255).round().astype(np.uint8).transpose(1, 2, 0))
        theirs = np.asarray(ImageOps.solarize(picture, 128)).transpose(2, 0, 1) / 255
        clear = np.abs(before[row] - 0.5) > 0.01  # rounding decides the side there
        assert np.abs(after[row] - theirs)[clear].max() < 0.01


def test_one_channel_and_tiny_images_go_too() -> None:
    spec = InputSpec(modality="image", size=(1, 3, 2), mean=(0.5,), std=(0.2,))
    strong = Augmentation(hue=0.1, grey=0.5, blur=1.0, blur_sigma=(50.0, 200.0), solarise=1.0, jitter_share=0.5)
    pipeline = ImagePipeline(spec, strong)
    canvas = torch.zeros(4, *pipeline.shape, dtype=torch.uint8)
    found = pipeline.augment({"image": canvas, "index": torch.arange(4)}, HashDraws(0, 0, torch.arange(4)))["image"]
    assert found.shape == (4, 1, 3, 2)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("settings", [{"hue": 0.6}, {"grey": 2}, {"blur": -1}, {"blur_sigma": (0, 1)}, {"solarise": 3}])
def test_ranges_without_meaning_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        Augmentation(**settings)
