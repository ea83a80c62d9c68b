"""Devices, precision and processes: the only file that touches accelerate.

One process takes a plain path. Under ``torchrun`` or ``accelerate launch`` with several, accelerate sets the processes
up and wraps the task (DDP, or FSDP2 where ``accelerate config`` asks for it). Mixed precision is torch's own autocast
on both paths, so that the task's ``forward`` is never patched.
"""

from __future__ import annotations

import atexit
import gc
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from zoo.protocols import Batch
from zoo_registry.errors import UsageError

T = TypeVar("T")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device() -> torch.device:
    """cuda, else mps, else cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class Runtime:
    """Where a run computes. Made by :meth:`create`.

    Attributes:
        device: of this process.
        rank, world: number of this process and of all.
        is_main: True on the process that writes files.
        sharded: True where parameters are spread over processes (FSDP).
        precision: what :meth:`create` was asked for.
    """

    def __init__(self, device: torch.device, precision: str, accelerator: Any = None) -> None:
        self.device = device
        self.precision = precision
        self._accelerator = accelerator
        self.rank = dist.get_rank() if accelerator else 0
        self.world = dist.get_world_size() if accelerator else 1
        self.is_main = self.rank == 0
        self.sharded = bool(accelerator and accelerator.is_fsdp2)

    @classmethod
    def create(cls, precision: str = "fp32", device: str | None = None) -> Runtime:
        """The runtime of this process.

        Args:
            precision: ``fp32`` (exact: no TF32), ``bf16`` or ``fp16``.
            device: as in torch, or None for cuda, else mps, else cpu.

        Raises:
            UsageError: the device is not there, or cannot do the precision.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            runtime = cls._distributed(precision, device)
        else:
            runtime = cls(_checked_device(device), precision)
        runtime.check(precision)
        if runtime.device.type == "cuda":
            reduced = precision != "fp32"
            torch.set_float32_matmul_precision("high" if reduced else "highest")
            torch.backends.cudnn.allow_tf32 = reduced
            torch.backends.cudnn.benchmark = True
        return runtime

    @classmethod
    def _distributed(cls, precision: str, device: str | None) -> Runtime:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        on_cpu = (device or ("cuda" if torch.cuda.is_available() else "cpu")) == "cpu"
        # Heads that leave a layer unused and tasks with several phases are normal here. Running statistics are
        # averaged by the loop: broadcasting those of one process would throw the others' away.
        options = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
        accelerator = Accelerator(cpu=on_cpu, mixed_precision="no", kwargs_handlers=[options])
        if str(accelerator.distributed_type).endswith("FSDP") and not accelerator.is_fsdp2:
            raise UsageError("This is FSDP version 1, which torch no longer develops.", "Set FSDP_VERSION=2.")
        if accelerator.is_fsdp2 and precision == "fp16":
            raise UsageError("fp16 does not work with FSDP here.", "Use --precision bf16.")
        # Threads of the process group that are still at work when the interpreter ends would abort the process.
        atexit.register(_leave_group)
        return cls(accelerator.device, precision, accelerator)

    def check(self, precision: str) -> None:
        """Raises UsageError where the device cannot train in ``precision``."""
        if precision == "fp16" and self.device.type != "cuda":
            raise UsageError(
                f"fp16 needs a CUDA device; this run is on {self.device.type}.", "Use --precision bf16 or fp32."
            )

    def best_precision(self) -> str:
        """What training should use where nobody says: bf16 where the device is built for it, else fp32."""
        return "bf16" if self.device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "fp32"

    def prepare(self, task: nn.Module, compile: bool = False) -> Callable[..., Any]:
        """Move ``task`` to the device, in place, and return what its training forward goes through."""
        model: nn.Module = task
        if self.sharded:
            # accelerate shards a task only together with an optimizer; ours are made from the sharded parameters.
            model, _ = self._accelerator.prepare(task, torch.optim.SGD(task.parameters(), lr=0.0))
        elif self._accelerator:
            task.to(self.device)
            for buffer in task.buffers():
                dist.broadcast(buffer, 0)
            warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
            # Its successor does not exist in the oldest torch we support.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers. is deprecated.*")
            model = self._accelerator.prepare(task)
        else:
            task.to(self.device)
        return torch.compile(model) if compile else model

    def release(self) -> None:
        """Let go of the wrapped task, so that it can be wrapped anew for the next stage."""
        if self._accelerator:
            self._accelerator.free_memory()

    def autocast(self, precision: str) -> AbstractContextManager[Any]:
        """Mixed precision for a forward pass; nothing for ``fp32``."""
        self.check(precision)
        if precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[precision])

    def accumulate(self, model: Any, last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged between processes in the last micro-batch only."""
        return nullcontext() if last or not self._accelerator else self._accelerator.no_sync(model)

    def to_device(self, batch: Batch) -> Batch:
        """The batch on this device, copied asynchronously where it is pinned."""
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over processes, as a new tensor on each."""
        if self.world == 1:
            return tensor
        summed = tensor.clone()
        dist.all_reduce(summed)
        return summed

    def maximum(self, number: int) -> int:
        """The largest of each process's number. Waits for the device where there are several processes."""
        if self.world == 1:
            return number
        tensor = torch.tensor(number, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    @torch.no_grad()
    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over processes, in one exchange."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors]) / self.world
        dist.all_reduce(flat)
        pieces = flat.split([tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.copy_(piece.view_as(tensor))

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Concatenate (n_rank, ...) tensors of all processes; the lengths may differ, the other dimensions not."""
        return self.gather_with_place(rows)[0]

    def gather_with_place(self, rows: Tensor) -> tuple[Tensor, slice]:
        """:meth:`gather_rows`, and where this process's rows stand in it. Waits for the device where there are several
        processes."""
        if self.world == 1:
            return rows, slice(0, len(rows))
        counts = torch.zeros(self.world, dtype=torch.long, device=self.device)
        counts[self.rank] = len(rows)
        lengths = self.sum(counts).tolist()
        padded = rows.new_zeros((max(lengths), *rows.shape[1:]), device=self.device)
        padded[: len(rows)] = rows.to(self.device)
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        gathered = torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
        start = sum(lengths[: self.rank])
        return gathered, slice(start, start + lengths[self.rank])

    def share(self, value: T) -> T:
        """The main process's value, on every process."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process goes through the block before the others: what it downloads or caches, they find."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            dist.barrier()


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()  # wrapped tasks hold the group too, and its threads are joined when nobody does


def _checked_device(device: str | None) -> torch.device:
    if device is None:
        return pick_device()
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"The device {device!r} cannot be used here.", f"Use {pick_device()} instead.") from error
    return found
