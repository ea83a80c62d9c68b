"""The audio plugin's own networks: padding changes nothing, and torchaudio's own forward gives the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from audio_toys import clips, padded
from network_toys import INPUT, difference, exported, grouped, network
from torch import nn
from torch.nn import functional as F

import zoo
from zoo.protocols import Backbone, DynamicAxes, Frames, Maskable
from zoo_audio.conformer import masked_batch_norm
from zoo_registry.errors import UsageError, WeightsError

NAMES = ("conformer", "emformer", "wavenet")
FRAMED = ("conformer", "emformer")
LENGTHS = [6000, 1, 3217, 800]
ALL = ("pooled", "tokens", "layers")


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    backbone = network(name)
    assert isinstance(backbone, Backbone)
    assert isinstance(backbone, Frames)
    assert isinstance(backbone, DynamicAxes)
    assert isinstance(backbone, Maskable) is (name in FRAMED)
    assert sorted(grouped(backbone)) == sorted(key for key, _ in backbone.named_parameters())
    titles = [title for title, _ in backbone.layer_groups()]
    assert [title for title in titles if title.startswith("layer.")] == [
        f"layer.{i}" for i in range(4 if name == "wavenet" else 2)
    ]
    assert titles[0] in ("subsampling", "first")
    example = backbone.example_inputs(3)
    assert list(example) == list(backbone.dynamic_axes) == ["waveform", "length"]
    features = backbone(example, ALL)
    assert features.pooled.shape == (3, backbone.dim)
    assert features.tokens.shape == (3, *features.grid, backbone.dim)
    assert torch.equal(features.layers[-1], features.tokens)
    assert backbone(example).layers is None


@pytest.mark.parametrize("name", NAMES)
def test_the_record_tells_the_truth(name: str) -> None:
    entry = zoo.default_registry().model(name)
    assert entry.id == f"audio/{name}"
    backbone: Any = zoo.load(name, weights="none").backbone
    assert sum(parameter.numel() for parameter in backbone.parameters()) == entry.spec.params
    assert backbone.dim == entry.spec.dim
    if name == "wavenet":
        assert f"{backbone.receptive_field:,} samples" in entry.spec.summary
    if name == "conformer":
        assert f"each {1000 * backbone.frame_seconds:g} ms" in entry.spec.summary
    if name == "emformer":
        encoder, seconds = backbone.module.encoder, backbone.frame_seconds
        for frames in (encoder.segment_length, encoder.left_context_length, encoder.right_context_length):
            assert f"{frames * seconds:g} s" in entry.spec.summary


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_alone_and_padded_give_the_same(name: str) -> None:
    backbone, sounds = network(name).eval(), clips(LENGTHS)
    together = backbone(padded(sounds, 1777), ALL)
    assert together.mask.sum(1).tolist() == backbone.frames(torch.tensor(LENGTHS)).tolist()
    assert together.mask.sum(1).min() == 1
    for row, sound in enumerate(sounds):
        alone = backbone(padded([sound]), ALL)
        assert bool(alone.mask.all())
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], atol=1e-4, rtol=0)
        for one, other in zip(together.layers, alone.layers, strict=True):
            torch.testing.assert_close(one[row, : other.shape[1]], other[0], atol=1e-4, rtol=0)
            assert (one[row, other.shape[1] :] == 0).all()
        torch.testing.assert_close(alone.tokens[0].mean(0), alone.pooled[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_frames_stand_where_they_are_said_to(name: str) -> None:
    backbone = network(name)
    seconds = torch.tensor([8000.0, 40000.0]) / INPUT.rate
    counts = backbone.frames(torch.tensor([8000, 40000]))
    assert ((counts - seconds / backbone.frame_seconds).abs() <= 1.01).all()


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_strictly(name: str) -> None:
    backbone = network(name).eval()
    state, batch = backbone.module.state_dict(), padded(clips(LENGTHS))
    again = network(name, seed=1, state=state).eval()
    assert torch.equal(backbone(batch).pooled, again(batch).pooled)
    with pytest.raises(WeightsError, match="missing"):
        network(name, state=dict(list(state.items())[1:]))


@pytest.mark.parametrize("name", NAMES)
def test_learns(name: str) -> None:
    backbone = network(name)
    head, batch = nn.Linear(backbone.dim, 2), padded(clips([4000] * 8))
    label = torch.arange(8) % 2
    time = torch.arange(4000) / INPUT.rate
    batch["waveform"] += torch.sin(2 * torch.pi * (300 + 900 * label[:, None]) * time)
    optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=0.01)
    for _ in range(60):
        loss = F.cross_entropy(head(backbone(batch).pooled), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.1:
            break
    assert loss < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_onnx_with_free_batch_and_time(name: str, tmp_path: Path) -> None:
    task, session = exported(network(name).eval(), tmp_path)
    for lengths in (LENGTHS, [5000], [333, 9001]):
        assert difference(task, session, padded(clips(lengths))) < 1e-3


@pytest.mark.parametrize("name", FRAMED)
def test_two_parts_make_the_whole(name: str) -> None:
    backbone, batch = network(name).eval(), padded(clips(LENGTHS))
    features, mask = backbone.embed(batch)
    made, whole = backbone.contextualise(features, mask, layers=True), backbone(batch, ALL)
    for one, other in zip(made.layers, whole.layers, strict=True):
        assert torch.equal(one, other)
    hidden = backbone.contextualise(torch.full_like(features, 0.5), mask)
    assert not torch.allclose(hidden.pooled, whole.pooled)
    # What stands at padding is not looked at.
    noisy = torch.where(mask[:, :, None], features, torch.full_like(features, 9.0))
    torch.testing.assert_close(backbone.contextualise(noisy, mask).tokens, whole.tokens, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FRAMED)
@pytest.mark.parametrize("samples", [800, 3217, 6000])
def test_one_whole_clip_as_torchaudio_has_it(name: str, samples: int) -> None:
    backbone = network(name).eval()
    features, mask = backbone.embed(padded(clips([samples])))
    encoder, count = backbone.module.encoder, mask.sum(1)
    right = encoder.right_context_length if name == "emformer" else 0
    expected, _ = encoder(F.pad(features, (0, 0, 0, right)), count)
    torch.testing.assert_close(backbone.contextualise(features, mask).tokens, expected, atol=1e-5, rtol=0)


def test_emformer_from_a_stream() -> None:
    backbone = network("emformer").eval()
    features, mask = backbone.embed(padded(clips([7000])))
    encoder, frames = backbone.module.encoder, features.shape[1]
    size, right = encoder.segment_length, encoder.right_context_length
    # A segment of a stream is full: what follows the clip is heard as silence in both.
    whole = -(-frames // size) * size
    features, mask = F.pad(features, (0, 0, 0, whole - frames)), F.pad(mask, (0, whole - frames), value=True)
    expected = backbone.contextualise(features, mask).tokens
    states, made = None, []
    ahead = F.pad(features, (0, 0, 0, right))
    for start in range(0, whole, size):
        given = ahead[:, start : start + size + right]
        output, _, states = encoder.infer(given, torch.tensor([given.shape[1]]), states)
        made.append(output)
    torch.testing.assert_close(torch.cat(made, 1), expected, atol=1e-4, rtol=0)


def test_batch_norm_counts_real_frames_alone() -> None:
    torch.manual_seed(0)
    ours, reference = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    maps, real = torch.randn(4, 3, 9) * 2 + 1, torch.arange(9) < torch.tensor([9, 4, 1, 6])[:, None]
    flat = maps.transpose(1, 2)[real]  # (real frames, 3)
    expected, found = reference(flat), masked_batch_norm(ours, maps, real[:, None])
    torch.testing.assert_close(found.transpose(1, 2)[real], expected, atol=1e-5, rtol=0)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-5, rtol=0)
    ours.eval(), reference.eval()
    torch.testing.assert_close(masked_batch_norm(ours, maps, real[:, None]), reference(maps), atol=1e-5, rtol=0)


def test_conformer_in_training_is_as_blind_to_padding() -> None:
    backbone, sounds = network("conformer", dropout=0.0).train(), clips([3000, 1500])
    tight, wide = backbone(padded(sounds)).pooled, backbone(padded(sounds, 2000)).pooled
    torch.testing.assert_close(tight, wide, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("conformer", {"heads": 3}),
        ("conformer", {"kernel": 4}),
        ("emformer", {"heads": 5}),
        ("emformer", {"right": 0}),
        ("wavenet", {"dilations": []}),
        ("wavenet", {"kernel": 1}),
    ],
)
def test_options_that_make_no_network(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        network(name, **wrong)
