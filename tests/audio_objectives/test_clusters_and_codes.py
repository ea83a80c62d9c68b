"""k-means, MFCC, the quantiser and mu-law codes, each against a slow or a foreign reference."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from pretraining_toys import RATE, batch_of, pipeline, take
from torch import Tensor
from torch.nn import functional as F

from zoo_audio.frontend import LogMel
from zoo_audio.mulaw import mu_law_encode
from zoo_audio.objectives.hubert import middles
from zoo_audio.objectives.kmeans import assign, kmeans
from zoo_audio.objectives.mfcc import BANDS, COEFFICIENTS, Mfcc
from zoo_audio.objectives.quantiser import ProductQuantiser, gumbel, perplexity, temperature_at
from zoo_registry.errors import DataError


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50))
def test_mu_law_equals_torchaudio(samples: list[float]) -> None:
    waveform = torch.tensor(samples)
    assert torch.equal(mu_law_encode(waveform), torchaudio.functional.mu_law_encoding(waveform, 256))


def test_mu_law_clips_and_centres() -> None:
    assert mu_law_encode(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, 128, 255, 255]


def blobs(count: int = 60, clusters: int = 5) -> Tensor:
    centres = torch.randn(clusters, 3, generator=torch.Generator().manual_seed(3)) * 10
    noise = torch.randn(count * clusters, 3, generator=torch.Generator().manual_seed(4)) * 0.3
    return centres.repeat(count, 1) + noise


def test_kmeans_ends_where_every_centroid_is_the_mean_of_its_points() -> None:
    points = blobs()
    for clusters in (2, 5, 9):
        centroids = kmeans(points, clusters, seed=0)
        for cluster in range(clusters):
            mine = [
                point
                for point in points
                if min(range(clusters), key=lambda c: float((point - centroids[c]).square().sum())) == cluster
            ]
            torch.testing.assert_close(torch.stack(mine).mean(dim=0), centroids[cluster], atol=1e-4, rtol=1e-4)


def test_kmeans_finds_what_lies_apart_and_repeats_itself() -> None:
    points = blobs()
    centroids = kmeans(points, 5, seed=1)
    assert torch.equal(centroids, kmeans(points, 5, seed=1))
    nearest, distance = assign(points, centroids)
    assert [len(set(nearest[start::5].tolist())) for start in range(5)] == [1] * 5
    assert float(distance.mean()) == pytest.approx(3 * 0.3**2, rel=0.2)


def test_kmeans_needs_as_many_points_as_clusters() -> None:
    same = torch.ones(10, 2)
    with pytest.raises(DataError, match="only 1 different"):
        kmeans(same, 2, seed=0)
    assert torch.equal(kmeans(same, 1, seed=0), torch.ones(1, 2))
    with pytest.raises(DataError, match="only 0 different"):
        kmeans(torch.empty(0, 2), 2, seed=0)


def test_mfcc_equals_torchaudio() -> None:
    """The cosines and the slopes; the mel powers have a test of their own."""
    batch = pipeline().prepare(batch_of([0.3]))
    found, count = Mfcc(RATE)(batch["waveform"], batch["length"])
    mel, _ = LogMel(RATE, mels=BANDS, normalise=False)(batch["waveform"], batch["length"])
    plain = mel @ torchaudio.functional.create_dct(COEFFICIENTS, BANDS, "ortho")
    first = torchaudio.functional.compute_deltas(plain.transpose(1, 2)).transpose(1, 2)
    second = torchaudio.functional.compute_deltas(first.transpose(1, 2)).transpose(1, 2)
    assert found.shape == (1, int(count), 39)
    torch.testing.assert_close(found, torch.cat([plain, first, second], dim=2), atol=1e-3, rtol=1e-4)


def test_mfcc_of_a_clip_do_not_depend_on_padding() -> None:
    batch = pipeline().prepare(batch_of([0.4, 0.11, 0.02]))
    whole, counts = Mfcc(RATE)(batch["waveform"], batch["length"])
    for row in range(3):
        alone = take(batch, slice(row, row + 1))
        found, count = Mfcc(RATE)(alone["waveform"], alone["length"])
        assert int(count) == int(counts[row])
        torch.testing.assert_close(whole[row, : int(count)], found[0], atol=1e-3, rtol=1e-4)


def test_middles_of_frames() -> None:
    assert middles(3, 2.0).tolist() == [1, 3, 5]
    assert middles(3, 1.0).tolist() == [0, 1, 2]
    assert middles(2, 4.0).tolist() == [2, 6]
    assert middles(4, 0.02 * 16000 / 160).tolist() == [1, 3, 5, 7]


def quantiser() -> ProductQuantiser:
    torch.manual_seed(0)
    return ProductQuantiser(dim=6, groups=2, entries=4, width=8)


def test_quantiser_equals_a_loop() -> None:
    made, frames = quantiser(), torch.randn(2, 3, 6)
    noise = torch.rand(2, 3, 2, 4)
    for given_noise, temperature in ((None, 1.0), (noise, 0.7)):
        picked, codes, chances = made(frames, given_noise, temperature)
        for row in range(2):
            for place in range(3):
                logits = (made.choose.weight @ frames[row, place] + made.choose.bias).view(2, 4)
                torch.testing.assert_close(chances[row, place], logits.softmax(dim=-1))
                if given_noise is not None:
                    logits = logits - (-noise[row, place].log()).log()
                chosen = [int(logits[group].argmax()) for group in range(2)]
                assert codes[row, place].tolist() == chosen
                expected = torch.cat([made.codebooks[group, chosen[group]] for group in range(2)])
                torch.testing.assert_close(picked[row, place], expected)


def test_gradients_go_straight_through_the_choice() -> None:
    made, frames, noise = quantiser(), torch.randn(1, 2, 6), torch.rand(1, 2, 2, 4)
    wanted = torch.randn(1, 2, 8)
    gradients = []
    for soft in (False, True):
        leaf = frames.clone().requires_grad_()
        if soft:
            logits = made.choose(leaf).unflatten(-1, (2, 4))
            mixed = ((logits + gumbel(noise)) / 0.5).softmax(dim=-1)
            picked = torch.einsum("bmgv,gvw->bmgw", mixed, made.codebooks).flatten(2)
        else:
            picked = made(leaf, noise, 0.5)[0]
        (picked * wanted).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_choices_follow_their_likelihood() -> None:
    logits = torch.tensor([0.5, 0.2, 0.0, 0.3]).log()
    uniform = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0))
    share = torch.bincount((logits + gumbel(uniform)).argmax(dim=1), minlength=4) / 20_000
    torch.testing.assert_close(share, torch.tensor([0.5, 0.2, 0.0, 0.3]), atol=0.015, rtol=0)
    assert gumbel(torch.tensor([0.0, 1 - 2**-24])).isfinite().all()


def test_temperature_falls_and_stays() -> None:
    values = [temperature_at(step, 100, 2.0, 0.5) for step in range(101)]
    assert values[0] == 2.0
    assert values[35] == pytest.approx(1.0)  # half way, geometrically
    assert values[70:] == [pytest.approx(0.5)] * 31
    assert all(later <= earlier for earlier, later in pairwise(values))


def test_perplexity_counts_what_is_used() -> None:
    chances = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]], requires_grad=True)
    assert perplexity(chances).tolist() == pytest.approx([4.0, 1.0, 2.0], rel=1e-5)
    perplexity(chances).sum().backward()
    assert chances.grad is not None
    assert chances.grad.isfinite().all()
    odd = F.normalize(torch.tensor([0.7, 0.2, 0.1]), p=1, dim=0)
    assert float(perplexity(odd)) == pytest.approx(math.exp(-sum(p * math.log(p) for p in odd.tolist())), rel=1e-5)
