"""WaveNet: what a sample depends on, how fast and slow generation agree, and its gate against the paper's formula."""

from __future__ import annotations

import pytest
import torch
from network_toys import network
from torch.nn import functional as F

from zoo.protocols import Autoregressive
from zoo_audio.mulaw import mu_law_encode
from zoo_audio.wavenet import companded, values_of
from zoo_audio.wavenet_backbone import SILENCE


def codes_of(batch: int, count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (batch, count), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("dilations", "kernel", "field"), [([1, 2, 4, 8], 2, 17), ([1, 3], 3, 11), ([1], 2, 3)])
def test_receptive_field_by_perturbation(dilations: list[int], kernel: int, field: int) -> None:
    backbone = network("wavenet", dilations=dilations, kernel=kernel).eval()
    assert backbone.receptive_field == field
    values = torch.rand(1, 40, generator=torch.Generator().manual_seed(0)) - 0.5
    values.requires_grad_()
    place = 30
    backbone.module(values)[-1][0, :, place].sum().backward()
    assert values.grad is not None
    touched = values.grad[0].nonzero()[:, 0].tolist()
    assert (min(touched), max(touched)) == (place - field + 1, place)


def test_nothing_later_is_heard() -> None:
    backbone = network("wavenet").eval()
    assert isinstance(backbone, Autoregressive)
    codes = codes_of(2, 50)
    before = backbone.forward_codes(codes)
    assert before.shape == (2, 50, 256)
    changed = codes.clone()
    changed[:, 31:] = 255 - changed[:, 31:]
    after = backbone.forward_codes(changed)
    assert torch.equal(before[:, :31], after[:, :31])
    assert not torch.allclose(before[:, 31], after[:, 31])


def test_slowly_by_the_equations() -> None:
    backbone = network("wavenet", dilations=[1, 2]).eval()
    net, values = backbone.module, values_of(codes_of(1, 12))
    zero = torch.zeros(4)

    def x_at(t: int) -> torch.Tensor:
        taps = net.first.weight[:, 0]
        past = values[0, t - 1] if t else 0.0
        return taps[:, 0] * past + taps[:, 1] * values[0, t] + net.first.bias

    columns, skips = [x_at(t) for t in range(12)], [torch.zeros(8) for _ in range(12)]
    for layer in net.layers:
        made = []
        for t in range(12):
            earlier = columns[t - layer.dilation] if t >= layer.dilation else zero
            weight = layer.dilated.weight
            both = weight[:, :, 0] @ earlier + weight[:, :, 1] @ columns[t] + layer.dilated.bias
            z = torch.tanh(both[:4]) * torch.sigmoid(both[4:])
            skips[t] = skips[t] + layer.skip.weight[:, :, 0] @ z + layer.skip.bias
            if layer.residual is not None:
                made.append(columns[t] + layer.residual.weight[:, :, 0] @ z + layer.residual.bias)
        columns = made
    hidden = torch.stack([net.hidden.weight[:, :, 0] @ F.relu(skip) + net.hidden.bias for skip in skips])
    expected = F.relu(hidden) @ net.logits.weight[:, :, 0].T + net.logits.bias
    torch.testing.assert_close(backbone.forward_codes(mu_codes(values))[0], expected, atol=1e-5, rtol=0)


def mu_codes(values: torch.Tensor) -> torch.Tensor:
    return ((values + 1) / 2 * 255).round().long()


def test_step_by_step_as_all_at_once() -> None:
    backbone = network("wavenet", kernel=3).eval()
    codes = codes_of(3, 60)
    memory, made = backbone.module.start(3), []
    for place in range(60):
        logits, memory = backbone.module.step(values_of(codes[:, place]), memory)
        made.append(logits)
    torch.testing.assert_close(torch.stack(made, 1), backbone.forward_codes(codes), atol=1e-5, rtol=0)


@pytest.mark.parametrize("begun", [0, 1, 25])
@pytest.mark.parametrize("drawn", [False, True])
def test_generated_fast_as_slowly(begun: int, drawn: bool) -> None:
    backbone = network("wavenet").eval()
    torch.nn.init.normal_(backbone.module.logits.weight, std=2.0)
    codes = codes_of(2, begun)
    chance = torch.rand(2, 30, generator=torch.Generator().manual_seed(1)) if drawn else None
    fast = backbone.generate(codes, 30, chance)
    slow = codes if begun else torch.full((2, 1), SILENCE)
    for place in range(30):
        logits = backbone.forward_codes(slow)[:, -1]
        if chance is None:
            following = logits.argmax(1)
        else:
            reached = logits.double().softmax(1).cumsum(1)
            following = torch.tensor([int((row <= u).sum()) for row, u in zip(reached, chance[:, place], strict=True)])
        slow = torch.cat([slow, following[:, None]], 1)
    assert fast.tolist() == slow[:, -30:].tolist()
    assert backbone.generate(codes, 0).shape == (2, 0)


def test_drawn_codes_follow_their_probabilities() -> None:
    backbone = network("wavenet").eval()
    draws = torch.rand(4000, 1, generator=torch.Generator().manual_seed(2))
    found = backbone.generate(torch.full((4000, 1), 90), 1, draws)[:, 0]
    expected = backbone.forward_codes(torch.full((1, 1), 90))[0, -1].softmax(0)
    counted = torch.bincount(found, minlength=256) / 4000
    assert (counted - expected).abs().max() < 0.01


def test_codes_and_waveforms_are_heard_alike() -> None:
    waveform = torch.linspace(-1, 1, 999)
    rounded = values_of(mu_law_encode(waveform))
    assert (rounded - companded(waveform)).abs().max() <= 1 / 255 + 1e-6
    assert values_of(torch.tensor([0, 255])).tolist() == [-1.0, 1.0]
    backbone = network("wavenet").eval()
    sound = (torch.rand(1, 800, generator=torch.Generator().manual_seed(3)) - 0.5)[:, :800]
    from_codes = backbone.module(values_of(mu_law_encode(sound)))[-1].mean(2)
    pooled = backbone({"waveform": sound, "length": torch.tensor([800])}).pooled
    torch.testing.assert_close(from_codes, pooled, atol=0.02, rtol=0)
