"""Checkpoints in open_clip's names: both spellings, other sizes, nothing lost and nothing left over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from clip_toys import contract, record, shrunk, some_images, some_texts
from open_clip.factory import load_checkpoint
from open_clip.model import CLIP, CustomTextCLIP
from safetensors.torch import save_file

from zoo.weights import load_backbone
from zoo.weights.read import read_state
from zoo_multimodal import clip_modules
from zoo_multimodal.clip_backbone import ClipBackbone, build_clip, build_image_tower
from zoo_multimodal.clip_weights import tower_state
from zoo_registry import build_registry
from zoo_registry.errors import UsageError, WeightsError
from zoo_registry.hooks import hookimpl
from zoo_registry.specs import ModelSpec


def made(config: dict[str, Any], state: Any = None, size: int | None = None) -> ClipBackbone:
    torch.manual_seed(0)
    input = contract(config, size)
    return build_clip(record(input), input, None, state, config=config).eval()


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
@torch.no_grad()
def test_files(tmp_path: Path, suffix: str) -> None:
    config = shrunk("vit")
    first = made(config)
    file = tmp_path / f"open_clip_model{suffix}"
    state = {name: tensor.contiguous() for name, tensor in first.module.state_dict().items()}
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, file)
    again = made(config, read_state(file))
    torch.testing.assert_close(again.module.state_dict(), first.module.state_dict())


@pytest.mark.parametrize("start", [CLIP, CustomTextCLIP])
@torch.no_grad()
def test_both_spellings(start: type) -> None:
    plain = shrunk("vit")
    configs = {CLIP: plain, CustomTextCLIP: {**plain, "custom_text": True}}
    other = CustomTextCLIP if start is CLIP else CLIP
    first = made(configs[start])
    second = made(configs[other], first.module.state_dict())
    assert (type(first.module), type(second.module)) == (start, other)
    images, texts = some_images(2, first.input), some_texts(3, 7)
    torch.testing.assert_close(second.encode("image", images), first.encode("image", images))
    torch.testing.assert_close(second.encode("text", texts), first.encode("text", texts))


@torch.no_grad()
def test_what_was_trained_here_loads_in_open_clip(tmp_path: Path) -> None:
    pair = made(shrunk("vit"))
    save_file(
        {name: tensor.contiguous() for name, tensor in pair.module.state_dict().items()}, tmp_path / "m.safetensors"
    )
    theirs = made(shrunk("vit")).module
    for parameter in theirs.parameters():
        parameter.zero_()
    load_checkpoint(theirs, str(tmp_path / "m.safetensors"))
    torch.testing.assert_close(theirs.state_dict(), pair.module.state_dict())


@pytest.mark.parametrize("family", ["vit", "coca"])
def test_towers_of_a_state_dict(family: str) -> None:
    module = made(shrunk(family)).module
    state = module.state_dict()
    image, text = tower_state(state, "image"), tower_state(state, "text")
    assert image.keys() == module.visual.state_dict().keys()
    assert {"token_embedding.weight", "positional_embedding", "ln_final.weight", "text_projection"} <= text.keys()
    assert not any(name.startswith(("visual", "logit", "text_decoder")) for name in text)


@torch.no_grad()
def test_numbers_of_openais_files_and_vectors_of_one() -> None:
    config = shrunk("siglip")
    first = made(config)
    state = dict(first.module.state_dict())
    state |= {"input_resolution": torch.tensor(224), "context_length": torch.tensor(16), "vocab_size": torch.tensor(9)}
    state["logit_scale"] = state["logit_scale"].reshape(1)
    again = made(config, state)
    torch.testing.assert_close(again.logit_scale, first.logit_scale)
    del state["logit_bias"]
    assert float(made(config, state).logit_bias) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda state: state.pop("visual.proj"), r"1 missing \(visual\.proj\)"),
        (lambda state: state.pop("text_projection"), r"1 missing \(text_projection\)"),
        (lambda state: state.update({"visual.more": torch.zeros(1)}), r"1 unexpected \(visual\.more\)"),
        (lambda state: state.update({"classifier": torch.zeros(1)}), r"1 unexpected \(classifier\)"),
        (lambda state: state.update({"logit_bias": torch.zeros(())}), r"1 unexpected \(logit_bias\)"),
        (lambda state: state.update({"ln_final.weight": torch.zeros(5)}), r"ln_final\.weight is \[5\]"),
        (lambda state: state.pop("logit_scale"), r"1 missing \(logit_scale\)"),
    ],
)
def test_strictness(spoil: Any, told: str) -> None:
    config = shrunk("vit")
    state = dict(made(config).module.state_dict())
    spoil(state)
    with pytest.raises(WeightsError, match=told):
        made(config, state)


def test_a_file_of_something_else() -> None:
    with pytest.raises(WeightsError, match="None of the 1 tensors"):
        made(shrunk("vit"), {"fc.weight": torch.zeros(2, 2)})
    input = contract(shrunk("vit"))
    with pytest.raises(WeightsError, match="None of the 1 tensors"):
        build_image_tower(record(input), input.parts[0], None, {"fc.weight": torch.zeros(2, 2)}, config=shrunk("vit"))
    other = made(shrunk("resnet")).module.state_dict()
    with pytest.raises(WeightsError, match="missing"):
        made(shrunk("vit"), other)


@pytest.mark.parametrize(("family", "side"), [("vit", 48), ("resnet", 96), ("siglip", 96), ("coca", 64)])
@torch.no_grad()
def test_other_sizes(family: str, side: int) -> None:
    config = shrunk(family)
    state = made(config).module.state_dict()
    larger = made(config, state, side)
    images = some_images(2, larger.input)
    expected = larger.towers["image"](images).pooled
    assert expected.shape == (2, larger.dim)
    # What a run at that size saved has its positions already.
    saved = made(config, larger.module.state_dict(), side)
    torch.testing.assert_close(saved.towers["image"](images).pooled, expected)
    part = larger.input.parts[0]
    for source in (state, larger.module.state_dict(), tower_state(larger.module.state_dict(), "image")):
        tower = build_image_tower(record(larger.input), part, None, source, config=config).eval()
        torch.testing.assert_close(tower(images).pooled, expected)


@torch.no_grad()
def test_positions_are_interpolated_as_in_open_clip(tmp_path: Path) -> None:
    config = shrunk("vit")
    first = made(config)
    grown = made({**config, "vision_cfg": {**config["vision_cfg"], "image_size": 64}}).module
    torch.save(first.module.state_dict(), tmp_path / "m.pt")
    load_checkpoint(grown, str(tmp_path / "m.pt"))
    torch.testing.assert_close(made(config, first.module.state_dict(), 64).module.state_dict(), grown.state_dict())


@pytest.mark.parametrize(("family", "side"), [("siglip", 8), ("resnet", 16)])
def test_sizes_that_cannot_be(family: str, side: int) -> None:
    with pytest.raises(UsageError, match=f"cannot take images of {side}x{side}"):
        made(shrunk(family), None, side)


class Plugin:
    """A pair of somebody else's, of a configuration of their own."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    @hookimpl
    def zoo_models(self) -> list[ModelSpec]:
        return [
            ModelSpec(
                name="toy-clip",
                builder="zoo_multimodal.clip_backbone:build_clip",
                pipeline="zoo.pairs:PairPipeline",
                input=contract(self.config),
                dim=32,
                options={"config": self.config},
                towers={"image": "clip-image/toy-clip", "text": "clip-text/toy-clip"},
                tower_state="zoo_multimodal.clip_weights:tower_state",
                context=16,
                vocabulary=600,
            )
        ]


@torch.no_grad()
def test_by_name_from_a_file(tmp_path: Path) -> None:
    config = shrunk("vit")
    registry = build_registry([("toys", Plugin(config))])
    pair = load_backbone("toy-clip", weights="none", registry=registry).backbone
    file = tmp_path / "open_clip_model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in pair.module.state_dict().items()}, file)
    images, texts = some_images(2, contract(config)), some_texts(3, 7)
    assert isinstance(pair, ClipBackbone)
    for modality, batch in (("image", images), ("text", texts)):
        loaded = load_backbone(f"clip-{modality}/toy-clip", weights=str(file), registry=registry)
        assert loaded.model_id == f"multimodal/clip-{modality}/toy-clip"
        torch.testing.assert_close(loaded.backbone.eval()(batch).pooled, pair.eval().towers[modality](batch).pooled)  # type: ignore[attr-defined, call-arg]


def test_another_activation_than_the_weights_had(capsys: Any) -> None:
    registry = build_registry()
    clip_modules.warn_of_gelu("ViT-B-32", registry.model("ViT-B-32@openai").weights)
    assert "ViT-B-32-quickgelu@openai has it" in capsys.readouterr().err
    clip_modules.warn_of_gelu("ViT-B-32", registry.model("ViT-B-32").weights)
    clip_modules.warn_of_gelu("ViT-B-32-quickgelu", registry.model("ViT-B-32-quickgelu@openai").weights)
    clip_modules.warn_of_gelu("ViT-B-32", None)
    assert capsys.readouterr().err == ""
