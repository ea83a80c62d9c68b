from __future__ import annotations

import itertools

import pytest
from pydantic import ValidationError

from zoo.engine.config import EngineConfig
from zoo.engine.schedule import FLOOR, ema_decay, lr_factor


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_rate_rises_then_falls_and_never_stops(schedule: str) -> None:
    rates = [lr_factor(step, 100, 0.1, schedule) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert max(rates) == pytest.approx(1.0)
    assert all(late <= early for early, late in itertools.pairwise(rates[10:]))
    assert min(rates) >= FLOOR


def test_cosine_and_linear_cross_half_way() -> None:
    middle = FLOOR + (1 - FLOOR) / 2
    assert lr_factor(50, 100, 0.0, "cosine") == pytest.approx(middle)
    assert lr_factor(50, 100, 0.0, "linear") == pytest.approx(middle)
    assert lr_factor(99, 100, 0.0, "cosine") < lr_factor(99, 100, 0.0, "linear") < 0.03


def test_a_run_that_only_warms_up() -> None:
    assert [lr_factor(step, 4, 1.0, "cosine") for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_ema_decay_starts_low_and_reaches_its_value() -> None:
    assert ema_decay(0, 0.999) == pytest.approx(0.1)
    assert ema_decay(10**6, 0.999) == 0.999


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"lr": 0},
        {"lr": float("nan")},
        {"warmup": 1.5},
        {"ema": 1},
        {"micro_batch": 0},
        {"precision": "fp8"},
        {"learning_rate": 1},
    ],
)
def test_config_rejects(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EngineConfig.model_validate({"steps": 1, **wrong})


def test_config_fingerprint_is_of_what_decides_the_result() -> None:
    base = EngineConfig(steps=10)
    assert base.fingerprint() == EngineConfig(steps=10, micro_batch=2, log_every=3, save_every=5).fingerprint()
    assert base.fingerprint() != EngineConfig(steps=11).fingerprint()
    assert base.fingerprint() != EngineConfig(steps=10, seed=1).fingerprint()
