"""Checkpoints of transformers and torchaudio, under every name they have had, compute what they computed there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from audio_toys import INPUT, KERNELS, WAV2VEC, clips, padded, tiny_wav2vec
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchaudio.models import hubert_pretrain_model, wav2vec2_model, wavlm_model

from zoo.weights import load_backbone
from zoo_audio.bundles_list import BUNDLE_WEIGHTS, HEADS
from zoo_audio.wav2vec_weights import to_torchaudio
from zoo_registry.errors import WeightsError
from zoo_registry.hooks import hookimpl
from zoo_registry.registry import Registry, build_registry
from zoo_registry.specs import ModelSpec, WeightsSpec

RECORD = WeightsSpec(model="tiny", tag="t", sources=("hub:toy/absent",), head_keys=HEADS)

# (transformers' class, kind of ours, whether of the large form)
PUBLISHED: list[tuple[str, str]] = [
    *((name, kind) for name in ("Wav2Vec2Model", "HubertModel") for kind in ("wav2vec2", "wav2vec2_large")),
    ("Wav2Vec2ForPreTraining", "wav2vec2"),
    ("Wav2Vec2ForCTC", "wav2vec2_large"),
    ("HubertForCTC", "wav2vec2"),
    ("Wav2Vec2ForSequenceClassification", "wav2vec2"),
    *((name, kind) for name in ("WavLMModel", "WavLMForCTC") for kind in ("wavlm", "wavlm_large")),
]


def published(name: str, kind: str) -> Any:
    """A network of transformers with random numbers, as large as ours of that kind."""
    ours = WAV2VEC[kind]["config"]
    positions = {
        "num_buckets": ours.get("encoder_num_buckets"),
        "max_bucket_distance": ours.get("encoder_max_distance"),
    }
    family: Any = getattr(transformers, name)
    config = family.config_class(
        hidden_size=ours["encoder_embed_dim"],
        num_hidden_layers=ours["encoder_num_layers"],
        num_attention_heads=ours["encoder_num_heads"],
        intermediate_size=ours["encoder_ff_interm_features"],
        conv_dim=[8] * len(KERNELS),
        conv_kernel=[kernel for kernel, _ in KERNELS],
        conv_stride=[stride for _, stride in KERNELS],
        conv_bias=ours["extractor_conv_bias"],
        num_conv_pos_embeddings=ours["encoder_pos_conv_kernel"],
        num_conv_pos_embedding_groups=ours["encoder_pos_conv_groups"],
        feat_extract_norm=ours["extractor_mode"].removesuffix("_norm"),
        do_stable_layer_norm=ours["encoder_layer_norm_first"],
        codevector_dim=8,
        proj_codevector_dim=8,
        vocab_size=20,
        **{key: value for key, value in positions.items() if value},
    )
    torch.manual_seed(4)
    model = family(config).eval()
    with torch.no_grad():  # fresh norms and biases are ones and zeros, which would hide a swap
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def old_weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As checkpoints from before torch 2.1 have it."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, old in names.items():
        state = {key.replace(new, old): tensor for key, tensor in state.items()}
    return state


def hidden_states(model: Any, sound: Tensor, normalise: bool) -> tuple[Tensor, ...]:
    base = getattr(model, model.base_model_prefix, model)
    given = torch.nn.functional.layer_norm(sound, sound.shape) if normalise else sound
    with torch.no_grad():
        made = base(given[None], output_hidden_states=True)
    return (
        *made.hidden_states[:-1],
        made.last_hidden_state,
    )  # the last layer behind the final norm, where there is one


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(("name", "kind"), PUBLISHED)
def test_transformers_checkpoints_compute_the_same(name: str, kind: str, old: bool) -> None:
    model = published(name, kind)
    state = old_weight_norm(model.state_dict()) if old else model.state_dict()
    assert any(key.endswith("weight_g") for key in state) is old
    backbone = tiny_wav2vec(kind, state=to_torchaudio(state), weights=RECORD).eval()
    (sound,) = clips([9000])
    with torch.no_grad():
        features = backbone(padded([sound]), ("layers",))
    expected = hidden_states(model, sound, backbone.normalise)
    assert features.layers is not None
    assert len(features.layers) == len(expected) == 4
    for ours, theirs in zip(features.layers, expected, strict=True):
        torch.testing.assert_close(ours[:, : theirs.shape[1]], theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", WAV2VEC)
def test_torchaudio_checkpoints_pass(kind: str, old: bool) -> None:
    torch.manual_seed(1)
    factory = wavlm_model if kind.startswith("wavlm") else wav2vec2_model
    state = factory(**WAV2VEC[kind]["config"], aux_num_out=9).state_dict()
    named = to_torchaudio({f"model.{key}": value for key, value in (old_weight_norm(state) if old else state).items()})
    assert named.keys() == state.keys()
    backbone = tiny_wav2vec(kind, state=named, weights=RECORD)
    for key, tensor in backbone.module.state_dict().items():
        torch.testing.assert_close(tensor, state[key], atol=0, rtol=0)
    assert "aux.weight" not in backbone.module.state_dict()
    assert all(parameter.device.type == "cpu" for parameter in backbone.parameters())


def test_a_network_from_torchaudios_pretraining() -> None:
    config = {key: value for key, value in WAV2VEC["wav2vec2"]["config"].items() if key != "extractor_mode"}
    whole = hubert_pretrain_model(
        extractor_mode="group_norm",
        **config,
        mask_prob=0.8, mask_selection="static", mask_other=0.0, mask_length=10, no_mask_overlap=False, mask_min_space=1,
        mask_channel_prob=0.0, mask_channel_selection="static", mask_channel_other=0.0, mask_channel_length=10,
        no_mask_channel_overlap=False, mask_channel_min_space=1,
        skip_masked=False, skip_nomask=False, num_classes=7, final_dim=8, feature_grad_mult=0.1,
    )  # fmt: skip
    backbone = tiny_wav2vec("wav2vec2", state=to_torchaudio(whole.state_dict()), weights=RECORD)
    key = "encoder.transformer.layers.2.feed_forward.output_dense.weight"
    torch.testing.assert_close(backbone.module.state_dict()[key], whole.wav2vec2.state_dict()[key], atol=0, rtol=0)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("wav2vec2", lambda state: state.pop("encoder.layers.1.attention.q_proj.weight"), "1 missing"),
        ("wavlm", lambda state: state.pop("encoder.layers.1.attention.k_proj.weight"), "1 missing"),
        ("wav2vec2", lambda state: state.update({"encoder.layers.9.bias": torch.zeros(1)}), "1 unexpected"),
        ("wavlm", lambda state: state.update({"feature_projection.projection.bias": torch.zeros(3)}), "another shape"),
    ],
)
def test_nothing_but_heads_is_dropped(kind: str, change: Any, message: str) -> None:
    state = published("WavLMModel" if kind == "wavlm" else "Wav2Vec2Model", kind).state_dict()
    change(state)
    with pytest.raises(WeightsError, match=message):
        tiny_wav2vec(kind, state=to_torchaudio(state), weights=RECORD)


def test_weights_of_another_model() -> None:
    with pytest.raises(WeightsError, match="belongs to tiny_wav2vec2"):
        tiny_wav2vec("wav2vec2", state=to_torchaudio({"conv.weight": torch.zeros(2)}), weights=RECORD)


def registry_with(record: WeightsSpec) -> Registry:
    import types

    model = ModelSpec(
        name="tiny",
        builder="zoo_audio.wav2vec_backbone:build_wav2vec",
        pipeline="zoo_audio.pipeline:audio_pipeline",
        input=INPUT,
        default_weights="t",
        options=WAV2VEC["wavlm_large"],
    )
    plugin = types.ModuleType("toy")
    vars(plugin).update(zoo_models=hookimpl(lambda: [model]), zoo_weights=hookimpl(lambda: [record]))
    return build_registry(plugins=[("toy", plugin)], autoload=False)


def test_a_file_of_the_users(tmp_path: Path) -> None:
    import dataclasses

    record = dataclasses.replace(RECORD, remap=BUNDLE_WEIGHTS[0].remap)
    model = published("WavLMForCTC", "wavlm_large")
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = load_backbone("tiny", weights=str(tmp_path / "w.safetensors"), registry=registry_with(record))
    saved = to_torchaudio(load_file(tmp_path / "w.safetensors"))
    for key, tensor in loaded.backbone.module.state_dict().items():
        torch.testing.assert_close(tensor, saved[key], atol=0, rtol=0)
