"""A grid trains each head exactly as if it were alone."""

import torch
from torch import nn

from zoo.headgrid import HeadGrid
from zoo.heads import ClassificationHead

GRID = ((1e-2, 0.0), (1e-3, 0.1), (3e-2, 0.5))


def batch(seed: int, n: int = 16) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (n,), generator=generator)
    pooled = torch.randn(n, 5, generator=generator) + nn.functional.one_hot(label, 5)
    return {"pooled": pooled, "label": label, "index": torch.arange(n)}


def head() -> ClassificationHead:
    torch.manual_seed(0)
    return ClassificationHead(dim=5, labels=("a", "b", "c"))


def train(task, groups, steps=20):
    optimizer = torch.optim.AdamW([{"params": p, "lr": lr, "weight_decay": wd} for p, lr, wd in groups])
    for step in range(steps):
        loss, count, _, _ = task(batch(step))
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()


def alone(lr: float, weight_decay: float) -> ClassificationHead:
    single = HeadGrid(head(), [(lr, weight_decay)])
    train(single, [([p for _, p in g.params], g.lr_scale, g.weight_decay) for g in single.param_groups()])
    return single.heads[0]


def test_side_by_side_equals_one_by_one():
    grid = HeadGrid(head(), GRID)
    train(grid, [([p for _, p in g.params], g.lr_scale, g.weight_decay) for g in grid.param_groups()])
    for together, (lr, weight_decay) in zip(grid.heads, GRID, strict=True):
        for ours, theirs in zip(together.parameters(), alone(lr, weight_decay).parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_groups_hold_every_parameter_once_and_never_decay_biases():
    grid = HeadGrid(head(), GRID)
    names = [name for group in grid.param_groups() for name, _ in group.params]
    assert sorted(names) == sorted(name for name, _ in grid.named_parameters())
    for group in grid.param_groups():
        if any(parameter.dim() == 1 for _, parameter in group.params):
            assert group.weight_decay == 0.0


def test_the_best_head_wins_and_ties_go_to_the_lower_loss():
    grid = HeadGrid(head(), GRID)
    data = {"label": torch.tensor([0, 1])}
    right = torch.tensor([[2.0, 0, 0], [0, 2.0, 0]])
    logits = torch.stack([-right, right, 5 * right], dim=1)
    metrics = grid.metrics()
    metrics.update(logits, data)
    result = metrics.compute()
    assert result["accuracy"] == 1.0
    assert result["best_head"] == 2.0
