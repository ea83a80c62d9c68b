"""SIGTERM and SIGINT ask for a stop at the next safe point; the second one does not ask."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from zoo_registry.errors import Interrupted, Terminated, ZooError


class Stopped(Exception):
    """Raised inside the loop where it gives way to a signal; never leaves :func:`zoo.engine.loop.fit`."""


class StopSignals:
    """While entered, the first SIGTERM or SIGINT only sets :attr:`received`; a second acts as if nobody listened.

    Only the main thread may set handlers; elsewhere this listens to nothing.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # None stands for a handler that was not set from Python; it cannot be put back, the default can.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number


def stop_error(number: int, step: int, steps: int) -> ZooError:
    """What to raise once the state is saved: exit code 143 after SIGTERM, 130 after SIGINT."""
    kind = Interrupted if number == signal.SIGINT else Terminated
    name = signal.Signals(number).name
    return kind(f"Stopped by {name} at step {step} of {steps}; the state is saved.", "Continue with --resume RUN.")
