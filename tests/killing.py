"""Killing a command of zoo in the middle of its training."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

# Commands are forked from a process that has imported what takes long, once for all tests of a worker.
PRELOADED = ["zoo.cli.main", "zoo.recipes", "zoo.pretraining", "torch.utils.tensorboard", "torch._dynamo"]


def kill_after_first_checkpoint(arguments: list[str], run: Path, *, script: Path | None = None) -> None:
    """Start ``zoo`` with ``arguments``, which write to the folder ``run``, and SIGKILL it once it has saved a state.

    Args:
        script: a file that is ``zoo`` with more plugins, instead.
    """
    context: ForkServerContext = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_zoo, args=(arguments, script, dict(os.environ)))
    process.start()
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last" / "state.json").exists() and time.monotonic() < deadline:
        assert process.is_alive(), "the run ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.join()


def _zoo(arguments: list[str], script: Path | None, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    sys.argv = [str(script or "zoo"), *arguments]
    if script:
        runpy.run_path(str(script), run_name="__main__")
        return
    from zoo.cli.main import run

    sys.exit(run(arguments))
