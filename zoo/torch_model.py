"""A trained run behind the same small interface as an export: decode, then run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoo.data.dataset import Table
from zoo.kinds import Entries, kind_of
from zoo.padding import pad
from zoo.protocols import RAGGED, Batch, Expands, Frames, Keeps, Pipeline
from zoo.serve_audio import Parts, parts_for
from zoo.targets import each_its_own
from zoo.trained import Trained, load_trained
from zoo_registry.registry import Registry

if TYPE_CHECKING:
    from zoo.texts import TextTokenizer


class TorchModel:
    """A run folder, its ``model/`` folder or one of its checkpoints, on the best device of this machine.

    Args:
        path: the folder, or what was read from one.
        registry: where the model's plugin is looked up; the default one if None.
        device: ``"cuda"``, ``"mps"`` or ``"cpu"``; chosen if None.

    Raises:
        UsageError: the folder holds no trained model.
        WeightsError: its files are damaged.
    """

    backend = "torch"

    def __init__(
        self, path: str | Path | Trained, *, registry: Registry | None = None, device: str | None = None
    ) -> None:
        self.trained = path if isinstance(path, Trained) else load_trained(path, registry)
        self.task: str = self.trained.task.head.task
        self.labels = self.trained.labels
        self.meta = self.trained.meta
        self.pipeline = self.trained.pipeline
        self.device = torch.device(device or best_device())
        self.module = self.trained.task.to(self.device).eval()
        self.parts: Parts | None = self._parts() if self.pipeline.modality == "audio" else None

    def rows(self, table: Table) -> Table:
        """The pipeline's samples of raw inputs."""
        return self.pipeline.rows(table) if isinstance(self.pipeline, Expands) else each_its_own(table)

    def decode(self, item: Any) -> np.ndarray:
        """One raw item, as the pipeline decodes it.

        Raises:
            DataError: it cannot be decoded.
        """
        return self.pipeline.decode(item)

    @torch.inference_mode()
    def run(self, arrays: Sequence[np.ndarray] | np.ndarray) -> tuple[Entries, Entries]:
        """Decoded arrays to (logits, scores), one entry each, in float32; cut to the sample's length where the task has
        one answer a token. Of sounds each is heard in parts where it is long (:class:`zoo.serve_audio.Parts`)."""
        if self.parts is not None:
            return self._hear(self.parts, list(arrays))
        batch = self.pipeline.prepare(self.batch(arrays))
        logits = self.module.head(self.module.backbone(batch, self.module.head.uses))
        scores = answers_of(self.module.head.decode(logits, batch))
        if isinstance(self.module.head, Keeps):
            logits = self.module.head.keep(logits, batch)
        found = logits.float().cpu().numpy(), scores.float().cpu().numpy()
        if not kind_of(self.task).token_level:
            return found
        lengths = [len(array) for array in arrays]
        one, other = ([row[:length] for row, length in zip(part, lengths, strict=True)] for part in found)
        return one, other

    def _parts(self) -> Parts:
        backbone = self.module.backbone
        return parts_for(self.meta, backbone.frame_seconds if isinstance(backbone, Frames) else 0.0)

    def _hear(self, parts: Parts, arrays: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        def decode(logits: np.ndarray) -> np.ndarray:
            whole = torch.from_numpy(np.asarray(logits))[None].to(self.device)
            return answers_of(self.module.head.decode(whole))[0].float().cpu().numpy()

        def forward(some: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
            batch = self.pipeline.prepare(self.batch(some))
            logits = self.module.head(self.module.backbone(batch, self.module.head.uses))
            both = (logits, answers_of(self.module.head.decode(logits, batch)))
            found = [list(one.float().cpu().numpy()) for one in both]
            if not parts.hop:
                return found
            counts = self.module.backbone.frames(batch["length"]).tolist()  # type: ignore[attr-defined]
            return [[row[:count] for row, count in zip(rows, counts, strict=True)] for rows in found]

        return parts.run(arrays, forward, decode)

    @torch.inference_mode()
    def next_logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """See :meth:`zoo.serve_model.OnnxModel.next_logits`."""
        real = torch.from_numpy(mask).to(self.device)
        batch = {"input_ids": torch.from_numpy(ids).to(self.device), "attention_mask": real}
        logits = self.module.backbone(batch, ("lm",)).lm
        assert logits is not None
        return logits[torch.arange(len(ids), device=self.device), real.sum(dim=1) - 1].float().cpu().numpy()

    @property
    def tokens(self) -> TextTokenizer:
        """The tokenizer of a text model."""
        return self.pipeline.tokens  # type: ignore[attr-defined]

    def batch(self, arrays: Sequence[np.ndarray] | np.ndarray) -> Batch:
        """Decoded arrays as the batch that the pipeline's ``prepare`` takes."""
        return {name: tensor.to(self.device) for name, tensor in batch_of(self.pipeline, arrays).items()}


def batch_of(pipeline: Pipeline, arrays: Sequence[np.ndarray] | np.ndarray) -> Batch:
    """Decoded arrays as the batch that a pipeline's ``prepare`` takes, on the CPU."""
    if pipeline.shape[0] != RAGGED:
        return {pipeline.input_name: torch.from_numpy(np.stack(list(arrays)))}
    padded, lengths = pad(list(arrays))
    return {pipeline.input_name: torch.from_numpy(padded), "length": torch.from_numpy(lengths)}


def answers_of(decoded: dict[str, torch.Tensor]) -> torch.Tensor:
    """The part of a head's decoding that people see: ``scores``, or ``value`` where there is one number."""
    return decoded["value"] if "value" in decoded else decoded["scores"]


def best_device() -> str:
    """``"cuda"``, else ``"mps"``, else ``"cpu"``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
