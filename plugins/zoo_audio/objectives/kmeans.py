"""k-means: seeding by distance (Arthur and Vassilvitskii, "k-means++", 2007), then Lloyd's iterations (1982).

On the CPU, out of a seed: the same points give the same clusters. n points, K clusters, C dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_registry.errors import DataError

ITERATIONS = 100


def kmeans(points: Tensor, clusters: int, seed: int, iterations: int = ITERATIONS) -> Tensor:
    """(n, C) float32 points -> (K, C) centroids, no two alike.

    Raises:
        DataError: there are fewer than K different points.
    """
    centroids = _seeds(points, clusters, torch.Generator().manual_seed(seed))
    before = torch.full((len(points),), -1)
    for _ in range(iterations):
        nearest, distance = assign(points, centroids)
        if torch.equal(nearest, before):
            break
        before = nearest
        count = torch.bincount(nearest, minlength=clusters)
        sums = torch.zeros_like(centroids, dtype=torch.float64).index_add_(0, nearest, points.double())
        centroids = (sums / count.clamp(min=1)[:, None]).to(points)
        if empty := int((count == 0).sum()):
            centroids[count == 0] = points[distance.topk(empty).indices]
    return centroids


def assign(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centroid of each point (..., C) and the squared distance to it: (...) int64 and (...) float."""
    distances = centroids.square().sum(dim=1) - 2 * (points @ centroids.T)
    nearest = distances.min(dim=-1)
    return nearest.indices, (nearest.values + points.square().sum(dim=-1)).clamp(min=0)


def _seeds(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Points drawn one after another, each with a chance in proportion to the squared distance to those before it."""
    places = [int(torch.randint(len(points), (), generator=generator))] if len(points) else []
    distance = torch.full((len(points),), torch.inf, dtype=torch.float64)
    while places and len(places) < clusters:
        distance = torch.minimum(distance, (points - points[places[-1]]).double().square().sum(dim=1))
        reached = distance.cumsum(dim=0)
        if reached[-1] == 0:
            break
        drawn = torch.rand((), generator=generator, dtype=torch.float64) * reached[-1]
        places.append(min(int(torch.searchsorted(reached, drawn, right=True)), len(points) - 1))
    if len(places) < clusters:
        raise DataError(
            f"The training data has only {len(places)} different frames, too few for {clusters} clusters.",
            "Give more data, or ask for fewer: -O clusters=8.",
        )
    return points[places].clone()
