from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from engine_ragged import ragged_eval, ragged_task, ragged_train, real_tokens
from engine_toys import run

from zoo.engine.checkpoint import Checkpoints
from zoo.engine.evaluate import collect, evaluate
from zoo.engine.runtime import Runtime

CPU = Runtime.create(device="cpu")
SIZES = [{}, {"batch_tokens": 90}]


def curve(folder: Path, event: str = "train") -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["event"] == event]


@pytest.mark.parametrize("sizes", SIZES)
def test_accumulation_does_not_change_the_loss_of_unequal_lengths(tmp_path: Path, sizes: dict[str, int]) -> None:
    # Batches of at most 12 rows by count; by tokens of 6 to 33.
    largest = max(len(batch["index"]) for batch in ragged_train(**sizes).stream(0, 5))
    for name, micro in [("whole", None), ("four", -(-largest // 4))]:
        run(ragged_task(), ragged_train(**sizes), ragged_eval(), tmp_path / name, steps=12, micro_batch=micro)
    assert curve(tmp_path / "four") == pytest.approx(curve(tmp_path / "whole"), abs=1e-6)
    assert curve(tmp_path / "whole")[-1] < curve(tmp_path / "whole")[0]


def test_the_loss_is_the_mean_over_real_tokens(tmp_path: Path) -> None:
    run(ragged_task(), ragged_train(), ragged_eval(), tmp_path, steps=1)
    task = ragged_task().requires_grad_(False)  # as it was before the step
    batch = next(ragged_train().stream(0, 1))
    sums = count = 0.0
    for row in range(len(batch["index"])):
        numbers = batch["numbers"][row, : int(batch["length"][row])].long()
        sums += float(torch.nn.functional.cross_entropy(task.head(task.body(numbers)), numbers % 3, reduction="sum"))
        count += len(numbers)
    assert int(real_tokens(batch).sum()) == count < batch["numbers"].numel()
    assert curve(tmp_path)[0] == pytest.approx(sums / count, abs=1e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_resuming_is_exact_from_any_step(tmp_path: Path, sizes: dict[str, int]) -> None:
    run(ragged_task(0.2), ragged_train(**sizes), ragged_eval(), tmp_path / "whole", steps=9)
    whole = Checkpoints(tmp_path / "whole" / "checkpoints").load("last")[0]["model"]

    class CutError(Exception):
        pass

    for stop in (2, 7):
        train = ragged_train(**sizes)
        plain = train.stream

        def cut(start: int, end: int, rank: int = 0, world: int = 1, plain=plain, stop=stop):  # type: ignore[no-untyped-def]
            yield from plain(start, min(end, stop), rank, world)
            if end > stop:
                raise CutError

        train.stream = cut  # type: ignore[method-assign]
        folder = tmp_path / str(stop)
        with pytest.raises(CutError):
            run(ragged_task(0.2), train, ragged_eval(), folder, steps=9, save_every=1)
        run(ragged_task(0.2), ragged_train(**sizes), ragged_eval(), folder, steps=9, save_every=1, resume=True)
        for name, tensor in Checkpoints(folder / "checkpoints").load("last")[0]["model"].items():
            assert torch.equal(tensor, whole[name])


def test_token_logits_are_collected_in_row_order_and_end_in_zeros() -> None:
    task = ragged_task()
    logits, index = collect(task, ragged_eval(), CPU)
    assert index.tolist() == list(range(21))
    assert logits.shape == (21, 13, 3)
    store = ragged_eval().store
    for row, numbers in enumerate(store.each(range(21))):  # type: ignore[attr-defined]
        expected = task.head(task.body(torch.from_numpy(numbers).long()))
        torch.testing.assert_close(logits[row, : len(numbers)], expected)
    shorter = [batch["numbers"].shape[1] for batch in ragged_eval().stream()]
    assert shorter[0] == 13 > shorter[-1]
    assert not logits[int(torch.as_tensor(store.lengths).argmin()), shorter[-1] :].any()


def test_metrics_do_not_depend_on_the_batches() -> None:
    task = ragged_task()
    by_rows, by_tokens, alone = ragged_eval(), ragged_eval(), ragged_eval()
    by_tokens.batch_tokens, alone.batch_size = 40, 1
    expected = evaluate(task, alone, CPU)
    for batches in (by_rows, by_tokens):
        assert evaluate(task, batches, CPU) == pytest.approx(expected, rel=1e-5)
