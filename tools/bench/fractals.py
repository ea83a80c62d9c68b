"""How fast fractals are made, with nothing cached: images a second and CPU time of each, at several sizes.

    .venv/bin/python tools/bench/fractals.py --sizes 32 96 224
    .venv/bin/python tools/bench/fractals.py --device cuda --images 8192

Where other programs share the processors the CPU time is the figure to go by.
"""

from __future__ import annotations

import argparse
import time

import torch

from zoo_vision.fractals.numbers import pack
from zoo_vision.fractals.render import render_fractals


def measure(numbers: torch.Tensor, size: int, batch: int) -> tuple[float, float]:
    """(images a second, CPU milliseconds an image), rendered in batches as training asks for them."""
    render_fractals(numbers[:batch], (3, size, size))
    _finish(numbers.device)
    wall, cpu = time.perf_counter(), time.process_time()
    for part in numbers.split(batch):
        render_fractals(part, (3, size, size))
    _finish(numbers.device)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return len(numbers) / wall, 1000 * cpu / len(numbers)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 96, 224])
    parser.add_argument("--images", type=int, default=960)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    numbers = [pack(0, image % 200, image // 200) for image in range(options.images)]
    on_device = torch.tensor(numbers, device=options.device)
    print(f"{options.images} images in batches of {options.batch} on {options.device}, {options.threads} threads")
    print(f"{'pixels':>9}  {'images/s':>9}  {'CPU ms/image':>12}")
    for size in options.sizes:
        rate, cpu = measure(on_device, size, options.batch)
        print(f"{f'{size} x {size}':>9}  {rate:9,.0f}  {cpu:12.2f}")


if __name__ == "__main__":
    main()
