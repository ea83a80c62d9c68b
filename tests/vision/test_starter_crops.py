"""The crops behind the starter weights: drawn from their number alone, of the asked-for size, and not blank."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from starter.crops import LEAST_DETAIL, crop, read_photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    noise[:, :360] = 200  # mostly sky
    Image.fromarray(noise).save(folder / "sky.png")
    Image.fromarray(noise[:, 300:].repeat(3, axis=1)).save(folder / "grass.png")
    return read_photos(folder)


def test_a_crop_is_a_function_of_its_number(photos):
    made = [np.asarray(crop(photos, 7, number, 32)) for number in (3, 4, 3)]
    assert made[0].shape == (32, 32, 3)
    assert np.array_equal(made[0], made[2])
    assert not np.array_equal(made[0], made[1])


def test_few_crops_are_blank(photos):
    blank = [np.asarray(crop(photos, 0, number, 32).convert("L")).std() < LEAST_DETAIL for number in range(60)]
    assert sum(blank) < 3
