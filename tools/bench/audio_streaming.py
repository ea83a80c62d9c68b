"""Streaming through recordings: decoding each time against the int16 memory map, which is there from the second epoch
on. Epochs of the two sides alternate in one process, and medians are compared.

spoken_digits are WAV files of 8 kHz, half a second each, so decoding is cheap: no compression to undo. At 16 kHz it
resamples; at 8 kHz it only reads, which is the hardest case for the memory map. FLAC and MP3 would gain more.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/audio_streaming.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

import numpy as np
import torch

import zoo
from zoo.config import FinetuneConfig, make_config
from zoo.data.batches import Train
from zoo.data.dataset import Table
from zoo.data.store import build_store
from zoo.prepared import read_dataset
from zoo_audio.pipeline import AudioPipeline, audio_pipeline
from zoo_registry.specs import InputSpec

RATES = (16000, 8000)
LEAST = 5.0  # times as fast as decoding, at the rate that models take


def epoch_seconds(batches: Train, epoch: int, *, vary: bool = False) -> float:
    """Of one epoch's batches, with or without augmentation."""
    began = time.perf_counter()
    first = epoch * batches.steps_per_epoch
    for batch in batches.stream(first, first + batches.steps_per_epoch):
        if vary:
            batches.transform(batch, epoch)
    return time.perf_counter() - began


def sides(table: Table, pipeline: AudioPipeline, batch_size: int) -> tuple[Train, Train, float]:
    """(decoding each time, from the memory map, seconds that making the map takes)."""
    began = time.perf_counter()
    mapped = build_store(table, pipeline)
    made = time.perf_counter() - began
    os.environ["ZOO_CACHE"] += "-live"  # where there is no map to open
    live = build_store(table, pipeline, cache_limit=0, say=lambda line: None)
    os.environ["ZOO_CACHE"] = os.environ["ZOO_CACHE"].removesuffix("-live")
    labels = np.zeros(len(mapped), np.int64)
    one, other = (Train(store, labels, pipeline, batch_size=batch_size, seed=0) for store in (live, mapped))
    return one, other, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=7, help="of each side")
    options = parser.parse_args()
    # A batch takes one copy by torch, whose threads would wait for each other where the machine has other work.
    torch.set_num_threads(1)
    config = make_config(FinetuneConfig, {"model": "", "data": "spoken_digits", "sample": False})
    table = read_dataset(config, "audio", zoo.default_registry()).splits["train"]
    print(f"spoken_digits, {len(table)} recordings of 8 kHz, batch {options.batch_size}, {os.cpu_count()} cores")
    print(f"| rate | decoding each time | memory map | ratio | all {options.epochs} ratios | making the map |")
    print("|---|---|---|---|---|---|")
    ratios: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZOO_CACHE"] = os.path.join(folder, "cache")
        for rate in RATES:
            pipeline = audio_pipeline(InputSpec(modality="audio", rate=rate))
            live, mapped, made = sides(table, pipeline, options.batch_size)
            seconds = [(epoch_seconds(live, e), epoch_seconds(mapped, e)) for e in range(options.epochs)]
            samples = mapped.steps_per_epoch * mapped.batch_size
            slow, fast = (samples / statistics.median(side) for side in zip(*seconds, strict=True))
            ratios[rate] = fast / slow
            each = ", ".join(f"{one / other:.1f}" for one, other in seconds)
            print(f"| {rate} | {slow:,.0f}/s | {fast:,.0f}/s | {fast / slow:.1f}x | {each} | {made:.2f} s |")
        varied = statistics.median(epoch_seconds(mapped, e, vary=True) for e in range(options.epochs))
        plain = statistics.median(epoch_seconds(mapped, e) for e in range(options.epochs))
        heard = float(np.sum(mapped.store.lengths)) / RATES[-1]
    cost = 1000 * (varied - plain) / heard
    print(f"\naugmentation: {cost:.2f} ms for each second of sound at {RATES[-1]} Hz, one thread")
    print(f"{ratios[RATES[0]]:.1f}x at {RATES[0]} Hz; wanted: {LEAST:g}x")


if __name__ == "__main__":
    main()
