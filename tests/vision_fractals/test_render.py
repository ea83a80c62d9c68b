"""Pictures of fractals: against one point after another, stateless, in any size, and telling classes apart."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo_vision.fractals.chaos import BURN_IN, SLOTS, STEPS, WALKERS, fixed_points, play, slot_sequence, step_table
from zoo_vision.fractals.numbers import pack
from zoo_vision.fractals.paint import Counter, background, frame
from zoo_vision.fractals.render import render_fractals
from zoo_vision.fractals.systems import draw_systems, matrices, shares


def numbers(classes: int, images: int, seed: int = 0) -> Tensor:
    return torch.tensor([pack(seed, label, image) for label in range(classes) for image in range(images)])


def points_of(count: int, blocks: int = 1) -> tuple[Tensor, HashDraws]:
    draws = HashDraws(0, 0, torch.arange(count))
    return torch.cat([block.clone() for block in play(draw_systems(draws), blocks)]), draws


def test_the_chaos_game_is_that_of_one_walker_after_another() -> None:
    systems = draw_systems(HashDraws(0, 0, torch.arange(3)))
    matrix, share, maps = matrices(systems).double(), shares(systems), systems.real.sum(1)
    start = fixed_points(step_table(systems)).double()
    slots = slot_sequence(BURN_IN + 2 * STEPS, torch.device("cpu"))
    found = points_of(3, blocks=2)[0].view(2 * STEPS, WALKERS, 3, 3)
    for image in range(3):
        edges = share[image].cumsum(0)[: int(maps[image]) - 1]
        for walker in (0, 1, WALKERS - 1):
            place, hue = start[:, image], 0.0
            for step in range(len(slots)):
                number = int((edges < (int(slots[step, walker]) + 0.5) / SLOTS).sum())
                place = matrix[image, number] @ place + systems.shift[image, number]
                hue = (hue + number / (int(maps[image]) - 1)) / 2
                if step >= BURN_IN:
                    expected = torch.tensor([*place.tolist(), hue], dtype=torch.float32)
                    torch.testing.assert_close(found[step - BURN_IN, walker, :, image], expected, atol=1e-4, rtol=1e-4)


def test_maps_get_their_shares_of_the_slots() -> None:
    systems = draw_systems(HashDraws(0, 0, torch.arange(40)))
    table, share = step_table(systems), shares(systems)
    for image in range(40):
        shifts = table[:, 4, image]
        for number in range(int(systems.real[image].sum())):
            given = (shifts == systems.shift[image, number, 0]).float().mean()
            assert abs(given - share[image, number]) <= 1.01 / SLOTS


def test_walkers_start_on_the_attractor_and_spread_over_it() -> None:
    systems = draw_systems(HashDraws(0, 0, torch.arange(200)))
    start = fixed_points(step_table(systems))
    mapped = torch.einsum("bij,jb->ib", matrices(systems)[:, 0], start) + systems.shift[:, 0].T
    torch.testing.assert_close(mapped, start, atol=1e-4, rtol=1e-4)
    early, late = (torch.cat([b.clone() for b in blocks]) for blocks in (islice(play(systems, 6), 1), play(systems, 6)))
    ratio = early[:, :2].std(0) / late[:, :2].std(0)
    assert ((ratio > 0.7) & (ratio < 1.3)).float().mean() > 0.98


def test_the_counter_counts_like_one_point_after_another() -> None:
    points, draws = points_of(4)
    height, width = 9, 12
    framing = frame(points, draws, height, width)
    framing[2, 0] += 4  # an image that juts out of its canvas
    counter = Counter(framing, height, width)
    counter.add(points)
    counter.add(points[:100])
    count, hue = counter.result()
    for image in range(4):
        a, b, c, d, e, f = framing[:, image]
        sums = np.zeros((height, width, 2))
        for x, y, tint in [*points[:, :, image], *points[:100, :, image]]:
            column, row = float(a * x + b * y + c), float(d * x + e * y + f)
            if 0 <= row < height and 0 <= column < width:
                sums[int(row), int(column)] += (1, float(tint))
        assert np.array_equal(count[image].numpy(), sums[..., 0])
        assert np.allclose(hue[image].numpy(), sums[..., 1] / np.maximum(sums[..., 0], 1), atol=1e-3)
    assert count[0].sum() < count[1].sum()


def test_frames_fill_the_canvas() -> None:
    points, draws = points_of(60)
    a, b, c, d, e, f = frame(points, draws, 40, 50)
    x, y = points[:, 0], points[:, 1]
    column, row = a * x + b * y + c, d * x + e * y + f
    longest = torch.maximum(column.amax(0) - column.amin(0), row.amax(0) - row.amin(0))
    assert ((longest >= 0.79 * 40) & (longest <= 1.16 * 40)).all()
    assert ((column >= -8) & (column <= 58) & (row >= -8) & (row <= 48)).all()


def test_backgrounds_are_black_or_varied_and_within_range() -> None:
    made = background(HashDraws(0, 0, torch.arange(100)), 16, 20)
    assert made.shape == (100, 3, 16, 20)
    assert made.min() >= 0
    assert made.max() <= 1
    black = (made.flatten(1) == 0).all(1)
    assert 10 < int(black.sum()) < 45
    assert made[~black].flatten(2).std(2).mean() > 0.02


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 21, 40), (1, 24, 24)])
def test_a_picture_is_a_function_of_its_number_alone(shape: tuple[int, ...]) -> None:
    chosen = numbers(5, 4)
    together = render_fractals(chosen, shape)
    assert together.shape == (20, *shape)
    assert together.dtype == torch.uint8
    assert torch.equal(together, render_fractals(chosen.flip(0), shape).flip(0))
    assert torch.equal(together[7:8], render_fractals(chosen[7:8], shape))
    torch.set_num_threads(3)
    assert torch.equal(together, render_fractals(chosen, shape))
    assert not torch.equal(together, render_fractals(numbers(5, 4, seed=1), shape))


def test_pictures_are_coloured_not_empty_and_all_different() -> None:
    made = render_fractals(numbers(40, 3), (3, 48, 48))
    assert len(torch.unique(made.flatten(1), dim=0)) == 120
    pixels = made.float()
    spread = pixels.flatten(1).std(1)
    assert (spread > 8).float().mean() > 0.95
    assert spread.min() > 2
    saturation = (pixels.amax(1) - pixels.amin(1)).mean((1, 2))
    assert (saturation > 2).float().mean() > 0.95


def descriptor(pictures: Tensor) -> Tensor:
    """Where edges lie, whatever the colours, the place, the flip and a small turn: their radial and tile histograms."""
    grey = pictures.float().mean(1)
    edges = (grey[:, 1:, 1:] - grey[:, :-1, 1:]).abs() + (grey[:, 1:, 1:] - grey[:, 1:, :-1]).abs()
    edges = (edges > 12).float()
    side = edges.shape[-1]
    row, column = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    total = edges.sum((1, 2)).clamp(min=1)
    middle_row, middle_column = (edges * row).sum((1, 2)) / total, (edges * column).sum((1, 2)) / total
    radius = ((row - middle_row[:, None, None]) ** 2 + (column - middle_column[:, None, None]) ** 2).sqrt()
    rings = [(edges * ((radius >= 4 * k) & (radius < 4 * k + 4))).sum((1, 2)) / total for k in range(8)]
    return torch.stack([*rings, total.log() / 4], dim=1)


def test_classes_differ_more_than_their_images() -> None:
    """Nearest centroid over nine numbers a picture, on pictures it has not seen, is far above chance."""
    classes, images = 20, 16
    found = descriptor(render_fractals(numbers(classes, images), (3, 48, 48))).view(classes, images, -1)
    found = (found - found.mean((0, 1))) / found.std((0, 1))
    centroids, held_out = found[:, ::2].mean(1), found[:, 1::2]
    nearest = torch.cdist(held_out.reshape(-1, found.shape[-1]), centroids).argmin(1).view(classes, -1)
    accuracy = (nearest == torch.arange(classes)[:, None]).float().mean()
    assert accuracy > 5 / classes, float(accuracy)
