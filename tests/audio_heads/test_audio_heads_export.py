"""The heads as ONNX graphs, for any number of clips and frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.exporting.trace import OPSET
from zoo.protocols import Features
from zoo.serve_audio import scores_of
from zoo.serve_model import open_session
from zoo_audio.ctc_head import CtcHead
from zoo_audio.frame_head import FrameHead
from zoo_audio.speaker_head import SpeakerHead

LABELS = ("none", "dog", "bell")


class Graph(nn.Module):
    def __init__(self, head: Any) -> None:
        super().__init__()
        self.head = head

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.head(Features(pooled=tokens.mean(dim=1), tokens=tokens, mask=mask))
        return logits, self.head.decode(logits, None)["scores"]


@pytest.mark.parametrize("kind", [CtcHead, FrameHead, SpeakerHead])
def test_a_graph_answers_as_the_head(kind: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Graph(kind(6, LABELS)).eval()
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("frames")}
    example = torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool)
    names = {"input_names": ["tokens", "mask"], "output_names": ["logits", "scores"]}
    program = torch.onnx.export(
        module, example, dynamo=True, dynamic_shapes=(axes, axes), opset_version=OPSET, verbose=False, **names
    )
    assert program is not None
    program.save(str(tmp_path / "head.onnx"))
    session = open_session(tmp_path / "head.onnx")
    tokens, mask = torch.randn(3, 9, 6), torch.arange(9) < torch.tensor([[9], [4], [1]])
    found = session.run(None, {"tokens": tokens.numpy(), "mask": mask.numpy()})
    with torch.no_grad():
        expected = module(tokens, mask)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-5)
    if kind is SpeakerHead:  # serving decodes means of several windows itself, as the head would
        mean = found[0].mean(axis=0)
        decoded = module.head.decode(torch.from_numpy(mean)[None])["scores"][0]
        np.testing.assert_allclose(scores_of(SpeakerHead.task, mean), decoded.numpy(), rtol=1e-4, atol=1e-5)


def test_heads_are_registered_for_their_tasks() -> None:
    registry = zoo.default_registry()
    found = {
        task: [entry.id for entry in registry.heads_for(task, "audio")]
        for task in ("transcription", "frame-classification", "speaker-verification")
    }
    assert found == {
        "transcription": ["audio/ctc"],
        "frame-classification": ["audio/frame-classification"],
        "speaker-verification": ["audio/speaker-verification"],
    }
