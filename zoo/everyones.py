"""What metrics keep of each batch, over the processes of a run."""

from __future__ import annotations

from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

Part = TypeVar("Part", bound=tuple[Any, ...])


def everyones(parts: list[Part]) -> list[Part]:
    """The parts of all processes, in the order of their ranks. Tensors among them come from other processes on the
    host; alone, a process has its own as they are."""
    if not (dist.is_available() and dist.is_initialized()):
        return parts
    mine = [tuple(one.cpu() if isinstance(one, Tensor) else one for one in part) for part in parts]
    shares: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(shares, mine)
    return [part for share in shares for part in share]
