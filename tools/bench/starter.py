"""What are the weights that zoo ships worth? ``resnet50@starter`` against random numbers: the same network, the same
recipe, on few and on all photos, several seeds; and its linear probe beside its teacher's.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/starter.py
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from trials import percent, points, zoo_json

FEW = 45


def few_photos(data: Path, folder: Path, seed: int) -> Path:
    """Class folders with links to :data:`FEW` training photos a class, drawn by seed, and to all of val."""
    for split in ("train", "val"):
        for photos in sorted(path for path in (data / split).iterdir() if path.is_dir()):
            chosen = sorted(photos.iterdir())
            if split == "train":
                chosen = random.Random(seed).sample(chosen, FEW)
            inside = folder / split / photos.name
            inside.mkdir(parents=True)
            for photo in chosen:
                (inside / photo.name).symlink_to(photo.resolve())
    return folder


def finetuned(options: argparse.Namespace, start: list[str], data: Path, seed: int) -> float:
    with tempfile.TemporaryDirectory() as out:
        recipe = ["--strategy", "full", "--lr", str(options.lr), "--epochs", str(options.epochs), "--layer-decay", "1"]
        recipe += ["--size", str(options.size), "--batchnorm", "train", "--batch-size", "32", "--seed", str(seed)]
        recipe += ["--precision", options.precision]
        made = zoo_json("finetune", *start, "--data", str(data), *recipe, "-o", f"{out}/run")
        return float(made["metrics"]["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--start", nargs="+", default=["resnet50", "--weights", "starter"], help="what zoo finetune takes"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cats_dogs"))
    parser.add_argument("--teacher", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=96, help="of finetuning, in pixels")
    parser.add_argument("--probe-size", type=int, default=160)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=["probe", "few", "all"], nargs="+", default=["probe", "few", "all"])
    options = parser.parse_args()
    scratch = ["resnet50", "--weights", "none"]
    if "probe" in options.only:
        print("| linear probe of | accuracy |\n|---|---|")
        probed = {"random": scratch, "starter": options.start, "teacher": [options.teacher]}
        for name, start in probed.items():
            size = ["--size", str(options.probe_size)]
            found = zoo_json("evaluate", *start, "--probe", "linear", "--data", str(options.data), *size)
            low, high = found["intervals"]["accuracy"]
            print(f"| {name} | {found['metrics']['accuracy']:.1%} ({low:.1%} to {high:.1%}) |", flush=True)
        print()
    print("| photos | random | starter | gain in points | seconds a run |\n|---|---|---|---|---|")
    for which in (one for one in ("few", "all") if one in options.only):
        sides: dict[str, list[float]] = {"random": [], "starter": []}
        began = time.perf_counter()
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                data = few_photos(options.data, Path(folder) / "few", seed) if which == "few" else options.data
                sides["random"].append(finetuned(options, scratch, data, seed))
                sides["starter"].append(finetuned(options, options.start, data, seed))
        seconds = (time.perf_counter() - began) / (2 * len(options.seeds))
        gains = [new - old for old, new in zip(sides["random"], sides["starter"], strict=True)]
        text = f"{FEW} a class" if which == "few" else "all"
        print(
            f"| {text} | {percent(sides['random'])} | {percent(sides['starter'])} | {points(gains)} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
