"""The objectives on the networks of the plugin that can be masked: padding and company change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from audio_toys import INPUT, clips, padded, tiny_wav2vec
from pretraining_toys import config

from zoo.capabilities import require
from zoo_audio.conformer import build_conformer
from zoo_audio.emformer import build_emformer
from zoo_audio.objectives.hubert import build_hubert
from zoo_audio.objectives.mask_spectrogram import build_mask_spectrogram
from zoo_audio.objectives.wav2vec2 import build_wav2vec2
from zoo_registry.specs import ModelSpec

OBJECTIVES = {
    "wav2vec2": (build_wav2vec2, {"distractors": 6, "span": 3}),
    "hubert": (build_hubert, {"clusters": 5, "frames": 60, "span": 3}),
    "mask_spectrogram": (build_mask_spectrogram, {"mels": 20, "span": 3}),
}
SMALL = {"dim": 16, "heads": 2, "layers": 2, "feed": 24, "mels": 32}


def network(name: str) -> Any:
    spec = ModelSpec(name=name, builder="", pipeline="", input=INPUT)
    torch.manual_seed(0)
    if name == "conformer":
        return build_conformer(spec, INPUT, **SMALL, kernel=5)
    if name == "emformer":
        return build_emformer(spec, INPUT, **SMALL, segment=4, left=8, right=1)
    return tiny_wav2vec(name)


@pytest.mark.parametrize("name", ["wav2vec2", "wavlm_large", "conformer", "emformer"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_samples_figures_are_its_own(name: str, objective: str) -> None:
    body = network(name)
    require(body, ("Maskable", "Frames"), objective)
    build, options = OBJECTIVES[objective]
    task: Any = build(body, None, config(**options))
    lengths = [16000, 9000, 5321, 800]
    sounds, key = clips(lengths), torch.tensor([5, 77, 3 * 2**40, 9])
    whole = {**padded(sounds, more=700), "key": key, "index": torch.arange(4)}
    if hasattr(task, "fit_data"):
        task.fit_data([whole])
    task.train()
    task(whole)[0].backward()
    assert [key for key, parameter in task.named_parameters() if parameter.grad is None] == []
    task.eval()
    with torch.no_grad():
        _, count, _, sums = task(whole)
        assert count > 0
        for row in range(4):
            alone = {**padded(sounds[row : row + 1]), "key": key[row : row + 1], "index": torch.tensor([row])}
            torch.testing.assert_close(task(alone)[3][0], sums[row], atol=2e-3, rtol=1e-3)
