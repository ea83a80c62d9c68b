"""Many small crops of a few large photos, to distil a teacher on (Asano and Saeed, "The augmented image prior", ICLR
2023, arXiv:2112.00725): how the pictures behind ``resnet50@starter`` were made.

    python tools/starter/crops.py PHOTOS -o crops --count 100000

Each crop is drawn from (seed, number) alone: a photo, a square box whose side is log-uniform between ``--size`` / 2 and
the photo's shorter side, an aspect ratio and a rotation. Colours and flips are left to training.
"""

from __future__ import annotations

import argparse
import math
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

Image.MAX_IMAGE_PIXELS = None
LONGEST = 3000  # pixels: larger photos are reduced first
TURN = 30.0  # degrees to either side
ASPECT = math.log(4 / 3)
LEAST_DETAIL = 16.0  # standard deviation of grey values, of 255
TRIES = 20
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

_photos: list[Image.Image] = []


def read_photos(folder: Path) -> list[Image.Image]:
    """The photos of a folder, at any depth, in the order of their names."""
    photos = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        photo = Image.open(path).convert("RGB")
        photo.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        photos.append(photo)
    return photos


def crop(photos: list[Image.Image], seed: int, number: int, size: int) -> Image.Image:
    """Crop ``number``: ``size`` x ``size`` pixels. Blank sky and walls teach little, so they are drawn again."""
    rng = np.random.default_rng((seed, number))
    for _ in range(TRIES):
        made = _draw(photos, rng, size)
        if np.asarray(made.convert("L")).std() >= LEAST_DETAIL:
            break
    return made


def _draw(photos: list[Image.Image], rng: np.random.Generator, size: int) -> Image.Image:
    photo = photos[rng.integers(len(photos))]
    shortest = min(photo.size)
    side = math.exp(rng.uniform(math.log(size / 2), math.log(shortest)))
    turn = math.radians(rng.uniform(-TURN, TURN))
    stretch = math.exp(rng.uniform(-ASPECT, ASPECT) / 2)
    # The upright box around the turned one has to fit into the photo.
    around = abs(math.cos(turn)) + abs(math.sin(turn))
    width, height = side * stretch * around, side / stretch * around
    fit = min(1.0, photo.width / width, photo.height / height)
    width, height = width * fit, height * fit
    left, top = rng.random() * max(0.0, photo.width - width), rng.random() * max(0.0, photo.height - height)
    whole = math.ceil(size * around)
    box = (left, top, left + width, top + height)
    upright = photo.resize((whole, whole), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    if turn:
        upright = upright.rotate(math.degrees(turn), Image.Resampling.BICUBIC)
    margin = (whole - size) // 2
    return upright.crop((margin, margin, margin + size, margin + size))


def _load(folder: Path) -> None:
    _photos.extend(read_photos(folder))


def _write(job: tuple[Path, int, int, range]) -> None:
    output, seed, size, numbers = job
    for number in numbers:
        path = output / f"{number // 1000:04d}" / f"{number:07d}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".tmp")
            crop(_photos, seed, number, size).save(fresh, "JPEG", quality=90)
            os.replace(fresh, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    steps = range(0, args.count, 1000)
    jobs = [(args.output, args.seed, args.size, range(at, min(at + 1000, args.count))) for at in steps]
    with ProcessPoolExecutor(args.processes, initializer=_load, initargs=(args.photos,)) as pool:
        for done, _ in enumerate(pool.map(_write, jobs), start=1):
            print(f"\r{min(done * 1000, args.count):,} of {args.count:,}", end="", flush=True)
    print()


if __name__ == "__main__":
    main()
