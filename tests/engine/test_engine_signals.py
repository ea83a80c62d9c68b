from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from engine_toys import EvalRows, TrainRows, conv, images, run

from zoo.engine.checkpoint import Checkpoints
from zoo_registry.errors import Interrupted, Terminated, ZooError


def sending(number: int, at: int) -> object:
    def each(place: int) -> None:
        if place == at:
            os.kill(os.getpid(), number)

    return each


@pytest.mark.parametrize(
    ("number", "kind", "code"), [(signal.SIGTERM, Terminated, 143), (signal.SIGINT, Interrupted, 130)]
)
@pytest.mark.parametrize("during", ["step", "evaluation"])
def test_saves_stops_and_continues_exactly(
    tmp_path: Path, number: int, kind: type[ZooError], code: int, during: str
) -> None:
    plain = TrainRows(images(), 16, noise=0.2), EvalRows(images(30, 2), 8)
    whole = run(conv(0.2), *plain, tmp_path / "whole", steps=9, ema=0.9)
    train = TrainRows(images(), 16, noise=0.2, each=sending(number, 4)) if during == "step" else plain[0]
    val = EvalRows(images(30, 2), 8, each=sending(number, 1)) if during == "evaluation" else plain[1]
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(kind, match="Stopped by") as caught:
        run(conv(0.2), train, val, tmp_path / "cut", steps=9, ema=0.9)
    assert caught.value.exit_code == code
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    state = Checkpoints(tmp_path / "cut" / "checkpoints").load("last")[1]["progress"]
    assert state["step"] == (5 if during == "step" else 3)
    assert state["evaluated"] == (3 if during == "step" else -1)
    again = run(conv(0.2), *plain, tmp_path / "cut", steps=9, ema=0.9, resume=True)
    assert again.history == whole.history


def test_the_second_signal_stops_at_once(tmp_path: Path) -> None:
    program = """
import os, signal, sys, time
from zoo.engine.signals import StopSignals
with StopSignals() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.received == signal.SIGTERM
    print("asked", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["asked"]
    assert done.returncode == -signal.SIGTERM


def test_trains_outside_the_main_thread(tmp_path: Path) -> None:
    results = []

    def work() -> None:
        results.append(run(conv(), TrainRows(images(), 16), EvalRows(images(30, 2), 8), tmp_path, steps=2))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results[0].steps == 2
