from __future__ import annotations

from typing import Any

import pytest
import torch
from open_clip.loss import CoCaLoss
from pair_toys import config, dual
from torch import Tensor

from zoo.engine.config import EngineConfig
from zoo.engine.gradients import gradients
from zoo.engine.optim import check_groups, layerwise_groups
from zoo.engine.run import begin
from zoo.engine.runtime import Runtime
from zoo_multimodal.clip_backbone import build_clip
from zoo_multimodal.objectives.coca import build_coca
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec

LENGTH = 9
TINY = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 16,
        "layers": 1,
        "width": 16,
        "head_width": 8,
        "patch_size": 8,
        "attentional_pool": True,
        "attn_pooler_queries": 4,
        "attn_pooler_heads": 2,
        "output_tokens": True,
    },
    "text_cfg": {
        "context_length": LENGTH,
        "vocab_size": 30,
        "width": 16,
        "heads": 2,
        "layers": 1,
        "embed_cls": True,
        "output_tokens": True,
    },
    "multimodal_cfg": {
        "context_length": LENGTH,
        "vocab_size": 30,
        "width": 16,
        "heads": 2,
        "layers": 1,
        "attn_pooler_heads": 2,
    },
    "custom_text": True,
}


def coca(**options: Any) -> Any:
    torch.manual_seed(0)
    image = InputSpec(modality="image", size=(3, 16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    text = InputSpec(modality="text", size=(LENGTH,))
    pair = InputSpec(modality="image-text", parts=(image, text))
    spec = ModelSpec(name="tiny-coca", builder="", pipeline="", input=pair)
    return build_coca(build_clip(spec, pair, config=TINY), None, config(**options))


def batch(rows: int = 6) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    length = torch.randint(4, LENGTH, (rows,), generator=draw)
    mask = torch.arange(LENGTH)[None] < length[:, None]
    return {
        "image.image": torch.randn(rows, 3, 16, 16, generator=draw),
        "text.input_ids": torch.randint(1, 30, (rows, LENGTH), generator=draw) * mask,
        "text.attention_mask": mask.long(),
        "index": torch.arange(rows),
    }


def test_coca_equals_open_clip() -> None:
    task = coca(caption=1.5).eval()
    loss, count, logs, vectors = task(batch())
    rows = batch()
    out = task.backbone.module(rows["image.image"], rows["text.input_ids"])
    theirs = CoCaLoss(caption_loss_weight=1.5, clip_loss_weight=1.0)(
        out["image_features"], out["text_features"], out["logits"], out["labels"], out["logit_scale"]
    )
    assert count == 6
    torch.testing.assert_close(loss / count, sum(theirs), atol=1e-5, rtol=0)
    torch.testing.assert_close(logs["matching_loss"], theirs[0].detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(1.5 * logs["caption_loss"], theirs[1].detach(), atol=1e-5, rtol=0)
    assert vectors.shape == (6, 2, 16)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(6, 2))


@pytest.mark.parametrize("micro_batch", [None, 4, 1])
def test_captions_of_unequal_length_are_exact_over_pieces(micro_batch: int | None) -> None:
    reference = coca()
    reference.train()
    loss, count, _, _ = reference(batch())
    (loss / count).backward()

    class Data:
        samples, steps_per_epoch = 6, 1

        def transform(self, rows: Any, epoch: int) -> Any:
            return rows

    task = coca()
    groups = layerwise_groups(task.layer_groups(), weight_decay=0.0)
    check_groups(task, {"main": groups})
    settings = EngineConfig(steps=2, lr=0.1, micro_batch=micro_batch)
    run = begin(task, Data(), settings, {"main": groups}, Runtime.create(device="cpu"), "main", {})
    run.progress.micro_batch = micro_batch
    task.train()
    found, number = gradients(run, "main", batch())
    torch.testing.assert_close(found / number, (loss / count).detach(), atol=1e-5, rtol=0)
    wanted = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    assert any("text_decoder" in name for name in wanted)
    for name, parameter in task.named_parameters():
        if name in wanted:
            torch.testing.assert_close(parameter.grad * run.share / number, wanted[name], atol=1e-5, rtol=1e-4)


def test_what_writes_no_captions_is_refused() -> None:
    with pytest.raises(UsageError, match="no decoder"):
        build_coca(dual(), None, config())
    with pytest.raises(UsageError, match="no weight"):
        coca(caption=0)
