from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import zoo
from zoo.pairs import PairPipeline
from zoo.trained import pipeline_for
from zoo.weights import identify_weights, load_backbone
from zoo_multimodal.dual_build import fit_towers, tower_state
from zoo_registry.builders import load_builder
from zoo_registry.errors import UnknownName, UsageError, WeightsError, ZooError
from zoo_registry.registry import Registry

CAPTIONS = ["a red circle", "a blue square above a ring", "two green stars"]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return zoo.default_registry()


@pytest.mark.parametrize(
    ("name", "modality", "full"),
    [
        ("dual/resnet10t+bert_tiny", "image-text", "multimodal/dual/resnet10t+bert_tiny"),
        ("multimodal/dual/vision/resnet10t+text/bert_tiny", "image-text", "multimodal/dual/resnet10t+bert_tiny"),
        ("dual/bert_tiny+resnet10t", "image-text", "multimodal/dual/resnet10t+bert_tiny"),
        ("dual/transformer+conformer", "audio-text", "multimodal/dual/conformer+transformer"),
        ("dual/spectrogram/test_vit+test_vit", "image-audio", "multimodal/dual/test_vit+spectrogram/test_vit"),
    ],
)
def test_a_name_leads_to_one_model_of_pairs(registry: Registry, name: str, modality: str, full: str) -> None:
    found = registry.model(name)
    assert found.id == full
    assert found.weights is None
    assert found.spec.input.modality == modality
    assert tuple(part.modality for part in found.spec.input.parts) == tuple(modality.split("-"))
    assert tuple(found.spec.towers) == tuple(modality.split("-"))
    for tower_modality, tower in found.spec.towers.items():
        assert registry.model(tower).spec.input.modality == tower_modality
    again = registry.model(found.id)
    assert again.spec == found.spec


def test_tags_name_the_weights_of_either_tower(registry: Registry) -> None:
    one = registry.model("dual/resnet10t@c3_in1k+bert_tiny")
    assert one.id == "multimodal/dual/resnet10t+bert_tiny"
    assert one.weights is not None
    assert one.weights.tag == "c3_in1k,"
    assert one.weights.sources == registry.model("resnet10t@c3_in1k").weights.sources  # type: ignore[union-attr]
    again = registry.model(f"{one.id}@{one.weights.tag}")
    assert again.spec == one.spec
    assert again.weights == one.weights
    text = registry.weights_of("text/all-minilm-l6-v2")[0]
    both = registry.model(f"dual/all-minilm-l6-v2@{text.tag}+resnet10t@c3_in1k")
    assert both.weights is not None
    assert both.weights.tag == f"c3_in1k,{text.tag}"
    assert both.weights.sources == text.sources  # the tokenizer lies there
    assert not both.spec.fit_always
    assert registry.model(f"{both.id}@{both.weights.tag}").spec == both.spec


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("dual/resnet10t", UnknownName, "no two models"),
        ("dual/resnet10t+", UnknownName, "no two models"),
        ("dual/+bert_tiny", UnknownName, "no two models"),
        ("dual/resnet10t+bert_tiny+conformer", UnknownName, "no two models"),
        ("dual/resnet10t+resnet18", UsageError, "both take image"),
        ("dual/resnet10t+no_such_text_model", UnknownName, "no_such_text_model"),
        ("dual/resnet10t@nothing+bert_tiny", UnknownName, "no weights 'nothing'"),
        ("dual/resnet10t+spectrogram", UnknownName, "no model by itself"),
    ],
)
def test_what_makes_no_pair_is_refused(registry: Registry, name: str, kind: type[ZooError], says: str) -> None:
    with pytest.raises(kind, match=says):
        registry.model(name)


def built(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    made = identify_weights("dual/test_vit+bert_tiny", weights="none", registry=registry)
    input = fit_towers(made.input, [("picture", caption) for caption in CAPTIONS], made.spec)
    torch.manual_seed(0)
    return load_backbone("dual/test_vit+bert_tiny", weights="none", registry=registry, input=input, **options)


def test_a_pair_fits_its_tokenizer_to_the_captions(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = built(registry, tmp_path, monkeypatch)
    assert (Path(loaded.input.assets) / "tokenizer.json").is_file()
    assert all(part.assets == "" for part in loaded.input.parts)  # they lie beside the pair's weights
    vocabulary = json.loads((Path(loaded.input.assets) / "tokenizer.json").read_text())["model"]["vocab"]
    assert {"red", "circle", "stars"} <= set(vocabulary)
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry, backbone=loaded.backbone)
    assert isinstance(pipeline, PairPipeline)
    batch = {**loaded.backbone.example_inputs(3), "index": torch.arange(3)}
    with torch.no_grad():
        assert loaded.backbone.eval()(batch).pooled.shape == (3, 2, 256)


def test_a_tower_can_be_cut_out_and_loads_alone(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = built(registry, tmp_path, monkeypatch)
    state = loaded.backbone.module.state_dict()
    for modality, tower in loaded.backbone.towers.items():
        own = tower.backbone.module.state_dict()
        cut = tower_state(state, modality)
        assert cut.keys() == own.keys()
        assert all(torch.equal(cut[key], own[key]) for key in own)


def test_towers_start_from_weights_of_their_own(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files lie in the cache, where somebody put them for the towers; nothing is fetched."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    tag = registry.weights_of("vision/test_vit")[0].tag
    record = registry.weights_of("vision/test_vit")[0]
    torch.manual_seed(5)
    source = load_backbone("test_vit", weights="none", registry=registry).backbone
    slot = tmp_path / "cache" / "weights" / "vision" / f"test_vit@{tag}"
    slot.mkdir(parents=True)
    head = {"head.weight": torch.zeros(record.num_classes, 64), "head.bias": torch.zeros(record.num_classes)}
    save_file(
        {**{key: tensor.clone() for key, tensor in source.module.state_dict().items()}, **head}, slot / "a.safetensors"
    )
    name = f"dual/test_vit@{tag}+bert_tiny"
    resolved = registry.model(name)
    monkeypatch.setattr("zoo.weights.sources.agrees", lambda *_: True)
    made = identify_weights(name, registry=registry)
    assert made.spec.fit_always
    input = fit_towers(made.input, [("picture", caption) for caption in CAPTIONS], made.spec)
    loaded = load_backbone(name, registry=registry, input=input)
    assert loaded.weights_id == f"{resolved.id}@{tag},"
    for key, tensor in loaded.backbone.towers["image"].backbone.module.state_dict().items():
        assert torch.equal(tensor, source.module.state_dict()[key])
    # A trained pair is built without any weights of its towers, and then given its own.
    spec, contract = resolved.spec, dataclasses.replace(input)
    for path in slot.iterdir():
        path.unlink()
    bare = load_builder(spec.builder)(spec, contract, None, None, **spec.options)
    bare.module.load_state_dict(loaded.backbone.module.state_dict(), strict=True)
    whole = load_builder(spec.builder)(spec, contract, None, loaded.backbone.module.state_dict(), **spec.options)
    assert torch.equal(whole.towers["text"].projection.weight, loaded.backbone.towers["text"].projection.weight)
    broken = {key: value for key, value in loaded.backbone.module.state_dict().items() if key != "logit_scale"}
    with pytest.raises(WeightsError, match="do not fit"):
        load_builder(spec.builder)(spec, contract, None, broken, **spec.options)
