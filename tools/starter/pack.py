"""Pack what a pretraining run learnt into a small file for the repository.

python tools/starter/pack.py RUN -o plugins/zoo_vision/weights/resnet50_starter.safetensors
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from safetensors.torch import load_file, save_file

from zoo_vision.packed import pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    args = parser.parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    state = pack(load_file(args.run / "model" / "backbone.safetensors"))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, args.output)
    content = args.output.read_bytes()
    print(f"{args.output}: {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
