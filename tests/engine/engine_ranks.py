"""Run by every process of a distributed test: one of the cases below, its outcome saved by the first process."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from engine_ragged import ragged_eval, ragged_task, ragged_train
from engine_toys import EvalRows, Tokens, TrainRows, conv, images, mlp, run, sentences, vectors
from safetensors.torch import save_file

from zoo.engine.evaluate import collect
from zoo.engine.runtime import Runtime
from zoo_registry.errors import ZooError


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    runtime = Runtime.create(device="cpu")
    vector_data = TrainRows(vectors(), 15), EvalRows(vectors(21, 2), 4)  # shares of unequal size
    run(task := mlp(), *vector_data, folder / "rows", runtime=runtime, steps=7, ema=0.9)
    run(mlp(), *vector_data, folder / "micro", runtime=runtime, steps=7, ema=0.9, micro_batch=3)
    run(Tokens(), TrainRows(sentences(), 8), EvalRows(sentences(9, 2), 4), folder / "tokens", runtime=runtime, steps=6)
    run(
        norm := conv(0.1),
        TrainRows(images(), 16),
        EvalRows(images(30, 2), 8),
        folder / "norm",
        runtime=runtime,
        steps=5,
    )
    run(
        norm,
        TrainRows(images(), 16),
        EvalRows(images(30, 2), 8),
        folder / "norm",
        runtime=runtime,
        steps=3,
        stage="two",
    )
    logits, index = collect(task, EvalRows(vectors(21, 2), 4), runtime)
    run(words := ragged_task(), ragged_train(), ragged_eval(), folder / "ragged", runtime=runtime, steps=6)
    token_logits, _ = collect(words, ragged_eval(), runtime)

    def interrupt(step: int) -> None:
        if step == 3 and runtime.rank == runtime.world - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    stopping = TrainRows(vectors(), 15, each=interrupt)
    try:
        run(mlp(0.2), stopping, vector_data[1], folder / "stop", runtime=runtime, steps=7)
        code = 0
    except ZooError as error:
        code = error.exit_code
    run(mlp(0.2), *vector_data, folder / "stop", runtime=runtime, steps=7, resume=True)
    run(mlp(0.2), *vector_data, folder / "nonstop", runtime=runtime, steps=7)
    drift = torch.stack([norm.body[1].running_mean, norm.body[1].running_var])
    same = runtime.gather_rows(drift.flatten()[None])
    if runtime.is_main:
        out = {
            "logits": logits,
            "token_logits": token_logits,
            "index": index,
            "code": torch.tensor(code),
            "statistics": same,
        }
        save_file(out, folder / "out.safetensors")
    runtime.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
