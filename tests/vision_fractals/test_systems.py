"""Systems of contractions: that they contract, keep their constraint, and are functions of their numbers alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from zoo.data.draws import HashDraws
from zoo_vision.fractals.numbers import CLASSES, IMAGES, SEEDS, pack, unpack
from zoo_vision.fractals.systems import (
    LEAST_MAPS,
    MOST_MAPS,
    STRONGEST,
    Systems,
    draw_systems,
    matrices,
    perturb,
    shares,
)


def systems(count: int, seed: int = 0) -> Systems:
    return draw_systems(HashDraws(seed, 0, torch.arange(count)))


def test_every_map_contracts_also_perturbed() -> None:
    drawn = systems(500)
    for made in (drawn, perturb(drawn, HashDraws(3, 0, torch.arange(500)))):
        singular = torch.linalg.svdvals(matrices(made))[made.real]
        assert singular.max() <= STRONGEST + 1e-5
        assert singular.min() >= 0


def test_matrices_are_the_decomposition_written_out() -> None:
    made = systems(20)
    built = matrices(made)
    for image in range(20):
        for number in range(MOST_MAPS):
            turn, lean = (
                torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
                for angle in (made.turn[image, number], made.lean[image, number])
            )
            expected = turn @ made.stretch[image, number].diag() @ lean @ made.flip[image, number].diag()
            torch.testing.assert_close(built[image, number], expected)


def test_singular_values_keep_the_constraint_on_their_sum() -> None:
    made = systems(2000)
    maps = made.real.sum(1)
    assert set(maps.tolist()) == set(range(LEAST_MAPS, MOST_MAPS + 1))
    larger, smaller = made.stretch.unbind(-1)
    total = ((larger + 2 * smaller) * made.real).sum(1)
    assert ((total >= (5 + maps) / 2 - 1e-4) & (total <= (6 + maps) / 2 + 1e-4)).all()
    assert ((smaller <= larger + 1e-5) | ~made.real).all()
    assert larger[made.real].std() > 0.1


def test_shares_go_to_real_maps_by_their_area() -> None:
    made = systems(300)
    share = shares(made)
    torch.testing.assert_close(share.sum(1), torch.ones(300))
    assert (share[~made.real] == 0).all()
    assert (share[made.real] > 0.01).all()
    area = matrices(made).det().abs() * made.real
    biggest = area.argmax(1, keepdim=True)
    assert (share.gather(1, biggest)[:, 0] == share.amax(1)).all()


def test_a_system_is_a_function_of_seed_and_class_alone() -> None:
    whole, part = systems(50), draw_systems(HashDraws(0, 0, torch.tensor([31, 7])))
    other = systems(50, seed=1)
    for field in dataclasses.fields(Systems):
        assert torch.equal(getattr(whole, field.name)[[31, 7]], getattr(part, field.name)), field.name
        assert not torch.equal(getattr(whole, field.name), getattr(other, field.name)), field.name


@pytest.mark.parametrize(
    ("seed", "label", "image"), [(0, 0, 0), (5, 6, 7), (SEEDS - 1, CLASSES - 1, IMAGES - 1), (0, CLASSES - 1, 0)]
)
def test_numbers_tell_seed_class_and_image(seed: int, label: int, image: int) -> None:
    number = pack(seed, label, image)
    assert 0 <= number < 2**63
    of_class, of_image = unpack(torch.tensor([number]))
    assert of_class.item() == seed * CLASSES + label
    assert of_image.item() == number
