"""The networks as ONNX graphs: any number of clips, any lengths, the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from audio_toys import clips, padded, tiny_wav2vec

from zoo.exporting.trace import trace
from zoo.heads import ClassificationHead
from zoo.tasks import SupervisedTask
from zoo_audio.layer_sum import LayersClassificationHead

BATCHES = ([5000], [400], [1, 30], [8000, 8000], [8000, 16000, 12000, 300], [33000, 1234, 20000])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "layers", "head"),
    [
        ("wav2vec2", 2, LayersClassificationHead),
        ("wav2vec2_large", 1, ClassificationHead),
        ("wavlm", 2, ClassificationHead),  # the second layer takes its positions from the first
        ("wavlm_large", 1, ClassificationHead),
    ],
)
def test_onnxruntime_agrees(kind: str, layers: int, head: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = SupervisedTask(tiny_wav2vec(kind, encoder_num_layers=layers), head(16, ("a", "b", "c"))).eval()
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    trace(task, tmp_path / "model.onnx", kind)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    given = {one.name: (one.shape, one.type) for one in session.get_inputs()}
    assert given == {"waveform": (["batch", "time"], "tensor(float)"), "length": (["batch"], "tensor(int64)")}
    for lengths in BATCHES:
        batch = padded(clips(lengths))
        with torch.no_grad():
            expected = task.head(task.backbone(batch, task.head.uses))
        logits, scores = session.run(["logits", "scores"], {name: tensor.numpy() for name, tensor in batch.items()})
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4, rtol=0)
        np.testing.assert_allclose(scores, expected.softmax(1).numpy(), atol=1e-4, rtol=0)
