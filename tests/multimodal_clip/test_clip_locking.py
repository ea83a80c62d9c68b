"""One tower learns, the other rests."""

from __future__ import annotations

import copy

import pytest
import torch
from clip_toys import contract, record, shrunk, some_images, some_texts

from zoo_multimodal.clip_backbone import ClipBackbone, build_clip
from zoo_multimodal.locking import lock_tower
from zoo_registry.errors import UsageError


def made() -> ClipBackbone:
    torch.manual_seed(0)
    config = shrunk("resnet")
    return build_clip(record(contract(config)), contract(config), config=config)


def step(pair: ClipBackbone) -> None:
    optimizer = torch.optim.SGD([p for p in pair.parameters() if p.requires_grad], lr=0.1)
    both = pair.encode("image", some_images(4, pair.input)), pair.encode("text", some_texts(4, 6))
    (pair.logit_scale.exp() * (both[0] @ both[1].T)).diag().sum().neg().backward()
    optimizer.step()


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("copied", [False, True])
def test_a_locked_tower_does_not_move(modality: str, copied: bool) -> None:
    pair = made()
    lock_tower(pair, modality)
    pair = copy.deepcopy(pair) if copied else pair
    before = {name: tensor.clone() for name, tensor in pair.state_dict().items()}
    pair.train()
    step(pair)
    moved = {name for name, tensor in pair.state_dict().items() if not torch.equal(tensor, before[name])}
    image = {name for name in moved if name.startswith("module.visual.")}
    text = moved - image - {"module.logit_scale"}
    assert (bool(image), bool(text)) == (modality != "image", modality != "text")
    # Running statistics of batch normalisation are the image tower's; they rest with it.
    assert any("running_mean" in name for name in moved) == (modality != "image")


@pytest.mark.parametrize("modality", ["image", "text"])
def test_groups_leave_out_what_is_locked(modality: str) -> None:
    pair = made()
    lock_tower(pair, modality)
    titles = [title for title, _ in pair.layer_groups()]
    assert not any(title.startswith(f"{modality}.") for title in titles)
    assert "logits" in titles
    assert len(titles) > 2


def test_no_such_tower() -> None:
    with pytest.raises(UsageError, match="image or text"):
        lock_tower(made(), "audio")
