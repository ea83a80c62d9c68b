"""Weighted nearest neighbours on features (Wu et al., "Unsupervised feature learning via non-parametric instance
discrimination", CVPR 2018): what a probe and what watches pretraining both ask."""

from __future__ import annotations

import torch
from torch.nn import functional as F

NEIGHBOURS = 20  # as DINO's evaluation has it (Caron et al., ICCV 2021)
TEMPERATURE = 0.07
CHUNK = 1024


def knn_scores(
    train: torch.Tensor,
    labels: torch.Tensor,
    queries: torch.Tensor | None,
    classes: int,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> torch.Tensor:
    """Shares of the votes of nearest neighbours, (m, classes), which add up to 1.

    Each of the ``k`` samples of the largest cosine similarity s votes for its class with exp(s / temperature).

    Args:
        train: (n, D); with fewer than ``k`` rows all of them vote.
        labels: (n,) ids.
        queries: (m, D), or None: each of ``train`` is asked of the others.
    """
    train = F.normalize(train, dim=1)
    asked = train if queries is None else F.normalize(queries, dim=1)
    voters = len(train) - (queries is None)
    votes = []
    for rows in torch.arange(len(asked), device=asked.device).split(CHUNK):
        similar = asked[rows] @ train.T
        if queries is None:
            similar.scatter_(1, rows[:, None], -torch.inf)
        nearest, others = similar.topk(min(k, voters), dim=1)  # (b, k)
        shares = (nearest / temperature).softmax(dim=1)  # a softmax over neighbours: exp(1 / 0.07) alone is large
        votes.append(shares.new_zeros(len(rows), classes).scatter_add_(1, labels[others], shares))
    return torch.cat(votes)
