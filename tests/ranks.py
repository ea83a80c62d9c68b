"""A test's program in several gloo processes. They are forked from one that has imported everything: torch alone takes
an interpreter longer than most of what is tested here."""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

SECONDS = 240


def start_ranks(program: Path, runs: dict[Path, int]) -> None:
    """Run ``main(folder)`` of the file ``program`` in so many processes for each folder, one after the other."""
    words = [str(word) for run in runs.items() for word in run]
    done = subprocess.run(
        [sys.executable, __file__, str(program), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-4000:]


def _fork(main: Callable[[Path], None], folder: Path, rank: int, count: int, port: int) -> int:
    if child := os.fork():
        return child
    signal.alarm(SECONDS)  # a process that waits for one that has failed
    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in {**here, **ranks}.items()})
    code = 1
    try:
        main(folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(code)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _main(program: Path, words: list[str]) -> int:
    sys.path[:0] = [str(program.parent), str(Path(__file__).parent)]
    main = importlib.import_module(program.stem).main
    for needed in ("accelerate", "torch.utils.tensorboard", "torch._dynamo"):
        importlib.import_module(needed)
    for folder, count in zip(words[::2], map(int, words[1::2]), strict=True):
        port = _free_port()
        children = [_fork(main, Path(folder), rank, count, port) for rank in range(count)]
        codes = [os.waitpid(child, 0)[1] for child in children]
        if any(codes):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), sys.argv[2:]))
