"""timm models as backbones: features against slow references, strict loading, layer groups over the families."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import timm
import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from zoo.protocols import Backbone
from zoo_registry.errors import UsageError, WeightsError
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec
from zoo_vision.groups import named_groups, ordered_children
from zoo_vision.timm_backbone import TimmBackbone, build_timm, grid_of

TINY = [
    "test_byobnet",
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_maxvit",
    "test_nfnet",
    "test_resnet",
    "test_vit",
    "test_vit2",
    "test_vit_relpos",
]

FAMILIES = [
    "beit_base_patch16_224",
    "botnet26t_256",
    "cait_xxs24_224",
    "coat_lite_tiny",
    "convit_tiny",
    "convmixer_1024_20_ks9_p14",
    "convnext_nano",
    "crossvit_tiny_240",
    "cs3darknet_focus_l",
    "csatv2",
    "davit_tiny",
    "deit_tiny_distilled_patch16_224",
    "densenet121",
    "dla46_c",
    "edgenext_small",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvim_m1",
    "efficientvit_b0",
    "efficientvit_m0",
    "eva02_tiny_patch14_224",
    "fastvit_s12",
    "focalnet_tiny_lrf",
    "gcvit_tiny",
    "ghostnet_050",
    "hiera_tiny_224",
    "hrnet_w18_small",
    "inception_next_atto",
    "inception_v3",
    "levit_128",
    "mambaout_femto",
    "mixer_s32_224",
    "mobilenetv3_small_050",
    "mobilevit_xxs",
    "mvitv2_tiny",
    "nest_tiny",
    "nf_regnet_b0",
    "pit_xs_224",
    "poolformer_s12",
    "pvt_v2_b0",
    "regnetx_002",
    "repvit_m0_9",
    "resnet50",
    "resnetv2_18",
    "rexnet_100",
    "sam2_hiera_tiny",
    "starnet_s050",
    "swin_s3_tiny_224",
    "tf_efficientnet_lite0",
    "tiny_vit_11m_224",
    "tnt_b_patch16_224",
    "twins_pcpvt_small",
    "vgg11",
    "visformer_tiny",
    "vit_small_patch14_dinov2",
    "volo_d1_224",
    "xcit_nano_12_p16_224",
]


def make_spec(name: str, size: int | None = None, channels: int = 3) -> tuple[ModelSpec, InputSpec]:
    config = get_pretrained_cfg(name)
    sides = (size, size) if size else config.input_size[1:]
    contract = InputSpec(modality="image", size=(channels, *sides), mean=config.mean, std=config.std)
    return ModelSpec(name=name, builder="zoo_vision.timm_backbone:build_timm", pipeline="", input=contract), contract


def build(name: str, state: dict[str, Tensor] | None = None, size: int | None = None, **options: Any) -> TimmBackbone:
    channels = options.pop("channels", 3)
    weights = options.pop("weights", None)
    return build_timm(*make_spec(name, size, channels), weights, state, **options).eval()


def checkpoint(name: str, classes: int = 1000, **options: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = timm.create_model(name, num_classes=classes, **options).state_dict()
    # Fresh layers hold many equal tensors; distinct values make a swap visible.
    return {
        key: value + 0.01 * torch.randn_like(value) if value.is_floating_point() else value
        for key, value in state.items()
    }


def image_for(backbone: TimmBackbone) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {key: torch.randn_like(value) for key, value in backbone.example_inputs(2).items()}


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_features_agree_with_timms_own_forward(name: str) -> None:
    state = checkpoint(name)
    backbone = build(name, state)
    original = timm.create_model(name).eval()
    original.load_state_dict(state)
    batch = image_for(backbone)
    features = backbone(batch, ("pooled", "tokens", "layers"))

    reference = original.forward_features(batch["image"])
    assert isinstance(backbone, Backbone)
    torch.testing.assert_close(features.pooled, original.forward_head(reference, pre_logits=True))
    assert features.pooled.shape == (2, backbone.dim)
    logits = original.get_classifier()(features.pooled)
    torch.testing.assert_close(logits, original(batch["image"]))
    rows, columns = features.grid
    assert features.tokens.shape[:2] == (2, rows * columns)
    for row, column in ((0, 0), (rows - 1, columns - 1), (1, 2)):
        token = features.tokens[:, row * columns + column]
        torch.testing.assert_close(token, one_token(original, reference, row, column, columns))
    maps = original.forward_intermediates(batch["image"], intermediates_only=True)
    assert len(features.layers) == len(maps)
    for layer, reference_map in zip(features.layers, maps, strict=True):
        torch.testing.assert_close(layer[:, 1], reference_map[:, :, 0, 1])


def one_token(original: nn.Module, reference: Tensor, row: int, column: int, columns: int) -> Tensor:
    if reference.dim() == 3:
        return reference[:, original.num_prefix_tokens + row * columns + column]
    if getattr(original, "output_fmt", "") == "NHWC":
        return reference[:, row, column]
    return reference[:, :, row, column]


@torch.no_grad()
def test_features_hold_only_what_was_asked_for() -> None:
    backbone = build("test_resnet", size=64)
    features = backbone(image_for(backbone))
    assert features.tokens is None
    assert features.grid is None
    assert features.layers is None


@pytest.mark.parametrize("name", ["levit_128", "coat_lite_tiny", "pit_xs_224", "crossvit_tiny_240", "efficientvim_m1"])
def test_tokens_of_unusual_architectures_are_spatial(name: str) -> None:
    with torch.device("meta"):
        backbone = build(name)
        features = backbone({"image": torch.zeros(2, *backbone.input.size)}, ("tokens",))
    rows, columns = features.grid
    assert rows == columns > 1
    assert features.tokens.shape[1] == rows * columns


def test_tokens_of_an_oblong_image_keep_its_shape() -> None:
    spec, contract = make_spec("test_vit")
    contract = dataclasses.replace(contract, size=(3, 64, 128))
    backbone = build_timm(spec, contract).eval()
    with torch.no_grad():
        features = backbone(image_for(backbone), ("tokens",))
    assert features.grid == (4, 8)


@pytest.mark.parametrize(
    ("count", "height", "width", "grid"),
    [
        (196, 224, 224, (14, 14)),
        (197, 224, 224, None),
        (32, 64, 128, (4, 8)),
        (50, 224, 224, None),
        (35, 80, 112, (5, 7)),
    ],
)
def test_grid_of(count: int, height: int, width: int, grid: tuple[int, int] | None) -> None:
    assert grid_of(count, height, width) == grid


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_every_backbone_tensor_comes_from_the_checkpoint(name: str) -> None:
    state = checkpoint(name, classes=7)
    backbone = build(name, state)
    loaded = backbone.module.state_dict()
    left_out = state.keys() - loaded.keys()
    head = get_pretrained_cfg(name).classifier
    assert left_out == {f"{head}.weight", f"{head}.bias"}
    for key, value in loaded.items():
        assert torch.equal(value, state[key]), key


def test_headless_state_of_a_saved_backbone_loads_again() -> None:
    saved = build("test_vit", checkpoint("test_vit"), size=96).module.state_dict()
    again = build("test_vit", saved, size=96).module.state_dict()
    assert all(torch.equal(again[key], saved[key]) for key in saved)
    assert again.keys() == saved.keys()


def test_position_embedding_is_resampled_to_another_size() -> None:
    state = checkpoint("test_vit")
    backbone = build("test_vit", state, size=96)
    assert backbone.module.pos_embed.shape[1] == 36 + 1
    assert state["pos_embed"].shape[1] == 100 + 1
    with torch.no_grad():
        assert backbone(image_for(backbone), ("tokens",)).grid == (6, 6)


def test_timms_conversion_of_the_family_is_applied() -> None:
    state = checkpoint("test_vit")
    native = build("test_vit", dict(state)).module.state_dict()
    # The first published ViT checkpoints store the patch embedding as a matrix.
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].flatten(1)
    converted = build("test_vit", state).module.state_dict()
    assert torch.equal(converted["patch_embed.proj.weight"], native["patch_embed.proj.weight"])


def test_one_channel_images_sum_the_first_convolution() -> None:
    state = checkpoint("test_resnet")
    backbone = build("test_resnet", state, channels=1, size=64)
    torch.testing.assert_close(backbone.module.conv1[0].weight, state["conv1.0.weight"].sum(dim=1, keepdim=True))
    with torch.no_grad():
        assert backbone(image_for(backbone)).pooled.shape == (2, backbone.dim)


def test_missing_keys_are_named_up_to_five() -> None:
    state = checkpoint("test_resnet")
    gone = [key for key in state if key.startswith("layer4.")]
    for key in gone:
        del state[key]
    named = [key for key in gone if not key.endswith("num_batches_tracked")]  # torch forgives this one
    with pytest.raises(WeightsError, match=rf"{len(named)} missing") as error:
        build("test_resnet", state)
    assert sum(key in error.value.problem for key in gone) <= 5
    assert f"and {len(named) - 5} more" in error.value.problem


def test_unexpected_keys_are_named() -> None:
    state = checkpoint("test_resnet") | {"layer9.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"1 unexpected \(layer9\.0\.conv1\.weight\)"):
        build("test_resnet", state)


def test_other_shapes_are_named() -> None:
    state = checkpoint("test_resnet")
    state["bn1.weight"] = torch.zeros(3)
    with pytest.raises(WeightsError, match=r"bn1\.weight is \[3\] instead of"):
        build("test_resnet", state)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_foreign_weights_fit_nothing(name: str) -> None:
    with pytest.raises(WeightsError) as error:
        build(name, {f"encoder.layer.{i}.weight": torch.zeros(3) for i in range(9)})
    assert name in error.value.problem
    assert "encoder.layer.0.weight" in error.value.problem


def test_families_that_timm_loads_leniently_are_still_strict() -> None:
    state = checkpoint("dla46_c")
    del state["level5.tree1.conv1.weight"]
    with pytest.raises(WeightsError, match=r"level5\.tree1\.conv1\.weight"):
        build("dla46_c", state)


def test_tensors_timm_declares_unused_are_mentioned(capsys: pytest.CaptureFixture[str]) -> None:
    state = checkpoint("dla46_c") | {"level9.project.0.weight": torch.zeros(1)}
    build("dla46_c", state)
    assert "level9.project.0.weight" in capsys.readouterr().err


def test_impossible_size_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="100x100"):
        build("test_maxvit", size=100)


def test_unknown_architecture_is_a_usage_error() -> None:
    spec, contract = make_spec("test_resnet")
    with pytest.raises(UsageError, match="has no model no_such_net"):
        build_timm(dataclasses.replace(spec, name="no_such_net"), contract)


def test_published_class_count_is_used_where_the_state_hides_it() -> None:
    spec, contract = make_spec("test_resnet")
    state = checkpoint("test_resnet", classes=11)
    weights = WeightsSpec(model=spec.name, tag="unheard_of", sources=(), num_classes=11, head_keys=("fc",))
    assert build_timm(spec, contract, weights, state).dim == 96


def test_gradient_checkpointing_changes_no_gradient() -> None:
    backbone = build("test_vit", size=32)
    batch = image_for(backbone)
    gradients = []
    for enable in (False, True):
        backbone.set_grad_checkpointing(enable)
        backbone.train().zero_grad()
        backbone(batch).pooled.sum().backward()
        gradients.append(backbone.module.patch_embed.proj.weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("name", [*TINY, *FAMILIES])
def test_every_parameter_stands_in_exactly_one_group(name: str) -> None:
    with torch.device("meta"):
        backbone = build(name)
    groups = backbone.layer_groups()
    listed = [key for _, members in groups for key, _ in members]
    named = {key: p for key, p in backbone.named_parameters() if p.requires_grad}
    assert len(listed) == len(set(listed))
    assert set(listed) == set(named)
    assert all(parameter is named[key] for _, members in groups for key, parameter in members)
    assert len({title for title, _ in groups}) == len(groups)
    assert len(groups) >= 4, "layer-wise decay needs layers"
    biggest = max(sum(p.numel() for _, p in members) for _, members in groups)
    assert biggest < 0.95 * sum(p.numel() for p in named.values()), "one group holds nearly everything"


@pytest.mark.parametrize("name", [*TINY, "poolformer_s12", "pit_xs_224", "csatv2", "swin_s3_tiny_224", "resnet50"])
def test_groups_are_ordered_from_input_to_output(name: str) -> None:
    """Layers that run earlier stand in earlier groups: the first one's input side against the last block."""
    with torch.device("meta"):
        backbone = build(name)
    position = {key: i for i, (_, members) in enumerate(backbone.layer_groups()) for key, _ in members}
    ran: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, path=path: ran.append(path))
        for path, module in backbone.named_modules()
        if next(module.parameters(recurse=False), None) is not None and isinstance(module, nn.Conv2d | nn.Linear)
    ]
    backbone({"image": torch.zeros(1, *backbone.input.size, device="meta")})
    for hook in hooks:
        hook.remove()
    places = [position[f"{path}.weight"] for path in ran if f"{path}.weight" in position]
    assert places[0] == 0
    assert places[-1] == max(places)
    # Shortcuts are registered at the end of a block but may run first: neighbours may swap within a group only.
    assert places == sorted(places)


def test_children_order_serves_modules_without_a_matcher() -> None:
    module = nn.ModuleDict(
        {
            "stem": nn.Conv2d(3, 4, 1),
            "stages": nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)), nn.Conv2d(4, 4, 1)]),
            "norm": nn.BatchNorm2d(4),
        }
    )
    places = ordered_children(module)
    layers = ("stem", "stages.0.0", "stages.0.1", "stages.1", "norm")
    assert [places[f"{layer}.weight"] for layer in layers] == [0, 1, 2, 3, 4]
    groups = named_groups([(key, p, places[key]) for key, p in module.named_parameters()])
    assert [title for title, _ in groups] == list(layers)
