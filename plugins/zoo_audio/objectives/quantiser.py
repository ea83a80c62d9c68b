"""Product quantisation with Gumbel softmax (Jang et al., 2017; Baevski et al., "wav2vec 2.0", 2020, section 2).

B samples, M frames, D width of a frame, G groups (codebooks), V entries of each, W width of a quantised frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST = 1e-7


def gumbel(uniform: Tensor) -> Tensor:
    """Numbers from [0, 1) as draws from the standard Gumbel distribution."""
    tiny = torch.finfo(torch.float32).tiny
    return -(-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()


def temperature_at(step: int, total: int, start: float, end: float) -> float:
    """Falls geometrically from ``start`` to ``end`` over the first 70 % of the steps (as in the paper's 400k steps, to
    the nearest percent), and stays there."""
    return max(end, start * (end / start) ** (step / (0.7 * total)))


def perplexity(probability: Tensor) -> Tensor:
    """(..., V) distributions -> (...) exp of their entropy: how many entries are used, were they used alike."""
    # At 0 the slope of the entropy is infinite, and softmax does give zeros.
    return torch.exp(-(probability * (probability + SMALLEST).log()).sum(dim=-1))


class ProductQuantiser(nn.Module):
    """Each frame becomes the concatenation of one entry from each of G codebooks.

    Args:
        dim: D.
        groups, entries: G, V.
        width: W, a multiple of G.
    """

    def __init__(self, dim: int, groups: int, entries: int, width: int) -> None:
        super().__init__()
        self.groups, self.entries = groups, entries
        self.choose = nn.Linear(dim, groups * entries)
        self.codebooks = nn.Parameter(torch.empty(groups, entries, width // groups).uniform_())
        nn.init.normal_(self.choose.weight)
        nn.init.zeros_(self.choose.bias)

    def forward(
        self, frames: Tensor, noise: Tensor | None = None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pick the most likely entry, or with ``noise`` one by its likelihood; gradients flow as if the choice were
        soft (straight-through).

        Args:
            frames: (B, M, D).
            noise: (B, M, G, V) in [0, 1), or None.

        Returns:
            (quantised (B, M, W), codes (B, M, G) int64, probabilities (B, M, G, V) without noise)
        """
        logits = self.choose(frames).float().unflatten(-1, (self.groups, self.entries))
        chances = logits.softmax(dim=-1)
        soft = chances if noise is None else ((logits + gumbel(noise)) / temperature).softmax(dim=-1)
        codes = soft.argmax(dim=-1)
        hard = F.one_hot(codes, self.entries).to(soft)
        picked = torch.einsum("bmgv,gvw->bmgw", hard + soft - soft.detach(), self.codebooks.float())
        return picked.flatten(2), codes, chances
