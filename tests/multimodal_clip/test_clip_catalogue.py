"""The list of open_clip's models and checkpoints: whole, right, and read without torch."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from open_clip.factory import list_models
from open_clip.pretrained import get_pretrained_cfg, list_pretrained

from zoo.paths import cache_dir
from zoo_multimodal.clip_list import CLIP_MODELS, CLIP_WEIGHTS
from zoo_registry import build_registry
from zoo_registry.errors import UnknownName


@pytest.fixture(scope="module")
def registry() -> Any:
    return build_registry()


@pytest.fixture(scope="module")
def generator() -> Any:
    return importlib.import_module("generate_multimodal_catalogue")


def test_loads_whole(registry: Any) -> None:
    record = next(one for one in registry.plugins() if one.name == "multimodal")
    assert (record.status, record.error) == ("ok", "")


@pytest.mark.slow
def test_no_drift_from_the_installed_open_clip(generator: Any, capsys: Any) -> None:
    """Every name, tag and input contract; of the networks themselves a dozen are built."""
    assert generator.main(["--check", "--sample", "12"]) == 0, capsys.readouterr().err


def test_drift_is_noticed(generator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(generator, "FILE", tmp_path / "catalogue.json")
    monkeypatch.setattr(generator, "measure", lambda name: (1, 2, 4))
    monkeypatch.setattr(generator, "list_models", lambda: ["RN50", "ViT-B-32"])
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    monkeypatch.setattr(generator, "measure", lambda name: (1, 2, 5))
    assert generator.main(["--check"]) == 1
    assert '+{"name":"RN50"' in capsys.readouterr().err


def test_every_model_and_checkpoint_is_there() -> None:
    made = {spec.options["config"] for spec in CLIP_MODELS if not spec.prefix}
    assert made == set(list_models())
    assert len(made) >= 144
    by_name = {spec.name: spec.options["config"] for spec in CLIP_MODELS if not spec.prefix}
    assert {(by_name[weights.model], weights.tag) for weights in CLIP_WEIGHTS} == set(list_pretrained())
    assert len(CLIP_WEIGHTS) >= 196


def test_every_model_with_checkpoints_has_a_default_of_its_own_activation() -> None:
    tags = set(list_pretrained())
    for spec in CLIP_MODELS:
        config = spec.options.get("config")
        if config is None:
            continue
        own = {tag for model, tag in tags if model == config}
        assert (spec.default_weights in own) if own else spec.default_weights is None
        quick = {tag for tag in own if get_pretrained_cfg(config, tag).get("quick_gelu")}
        if own - quick and not config.endswith("-quickgelu"):
            assert spec.default_weights not in quick, spec.name


# From open_clip's own table of models, in millions, and its configurations.
@pytest.mark.parametrize(
    ("name", "dim", "params", "side", "context", "licence"),
    [
        ("ViT-B-32", 512, 151.28, 224, 77, "mit"),
        ("RN50", 1024, 102.01, 224, 77, "mit"),
        ("ViT-H-14", 1024, 986.11, 224, 77, "mit"),
        ("ViT-B-16-SigLIP", 768, 203.16, 224, 64, "apache-2.0"),
        ("xlm-roberta-base-ViT-B-32", 512, 366.12, 224, 77, "mit"),
        ("nllb-clip-base-siglip", 768, 507.47, 384, 77, ""),
        ("EVA02-B-16", 512, 149.69, 224, 77, "mit"),
        ("ViT-B-16-quickgelu", 512, 149.62, 224, 77, "apple-ascl"),
        ("coca_ViT-B-32", 512, 253.56, 224, 76, "mit"),
    ],
)
def test_facts(registry: Any, name: str, dim: int, params: float, side: int, context: int, licence: str) -> None:
    spec = registry.model(name).spec
    image, text = spec.input.parts
    assert spec.dim == dim
    assert spec.params == pytest.approx(params * 1e6, rel=1e-4)
    assert (image.size, text.size, spec.context) == ((3, side, side), (context,), context)
    assert spec.license == licence


def test_pictures_as_each_checkpoint_had_them(registry: Any) -> None:
    plain = registry.model("ViT-B-32").weights.input.parts[0]
    assert plain.mean == (0.48145466, 0.4578275, 0.40821073)
    assert (plain.interpolation, plain.crop_mode, plain.crop_pct) == ("bicubic", "center", 1.0)
    siglip = registry.model("ViT-B-16-SigLIP").weights.input.parts[0]
    assert (siglip.mean, siglip.crop_mode) == ((0.5, 0.5, 0.5), "squash")
    large = registry.model("ViT-L-14@laion2b_s32b_b82k").weights.input.parts[0]
    assert large.mean == (0.5, 0.5, 0.5)
    apple = registry.model("MobileCLIP-S1").weights.input.parts[0]
    assert (apple.mean, apple.std, apple.interpolation) == ((0, 0, 0), (1, 1, 1), "bilinear")


def test_files_that_would_run_code_are_no_source(registry: Any) -> None:
    for weights in CLIP_WEIGHTS:
        assert weights.sources
        assert all("openaipublic" not in source for source in weights.sources)
    openai = registry.model("ViT-B-32@openai").weights
    assert openai.sources == (
        "hub:timm/vit_base_patch32_clip_224.openai/open_clip_model.safetensors",
        "hub:timm/vit_base_patch32_clip_224.openai/open_clip_pytorch_model.bin",
    )
    vitamin = registry.model("ViTamin-S").weights
    assert vitamin.sources == ("hub:jienengchen/ViTamin-S/pytorch_model.bin",)
    # Its place in open_clip's table is that of another epoch, so the address alone is used.
    (address,) = registry.model("ViT-B-16-plus-240@laion400m_e32").weights.sources
    assert address.endswith("vit_b_16_plus_240-laion400m_e32-699c4b84.pt")
    assert registry.model("ViT-B-16-plus-240@laion400m_e32").weights.sha256 == "699c4b84"


def test_names_that_timm_has_too(registry: Any) -> None:
    """What a name meant before open_clip came is what it means still."""
    assert registry.model("convnext_base").id == "vision/convnext_base"
    assert registry.model("clip-convnext_base").spec.options["config"] == "convnext_base"
    for spec in CLIP_MODELS:
        assert registry.means(spec.name) == f"multimodal/{spec.name}"
        for alias in spec.aliases:
            assert registry.means(alias) == f"multimodal/{spec.name}"


def test_names_of_openais_repositories(registry: Any) -> None:
    found = registry.model("clip-vit-base-patch32")
    assert (found.id, found.weights.tag) == ("multimodal/ViT-B-32-quickgelu", "openai")


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-32@openai", "clip-vit-base-patch32", "multimodal/RN50"])
def test_towers(registry: Any, modality: str, name: str) -> None:
    pair = registry.model(name)
    tower = registry.model(f"clip-{modality}/{name}")
    assert tower.id == f"multimodal/clip-{modality}/{pair.spec.name}"
    assert pair.spec.towers[modality] == tower.spec.name
    assert tower.spec.input.modality == modality
    assert (tower.weights.tag, tower.weights.sources) == (pair.weights.tag, pair.weights.sources)
    assert tower.weights.input == pair.weights.input.parts[modality == "text"]
    assert 0 < tower.spec.params < pair.spec.params
    assert registry.model(tower.id).spec == tower.spec


def test_a_file_cached_for_the_pair_serves_its_towers(registry: Any) -> None:
    slot = cache_dir() / "weights" / "multimodal" / "RN50@openai"
    assert not any(source.startswith("folder:") for source in registry.model("clip-image/RN50@openai").weights.sources)
    slot.mkdir(parents=True)
    assert registry.model("clip-image/RN50@openai").weights.sources[0] == f"folder:{slot}"


@pytest.mark.parametrize("rest", ["", "resnet50", "ViT-B-32@no_such_tag", "no_such_model"])
def test_no_tower(registry: Any, rest: str) -> None:
    with pytest.raises(UnknownName):
        registry.model(f"clip-image/{rest}")


def test_models_with_tokenizers_of_their_own(registry: Any) -> None:
    siglip = registry.model("clip-text/ViT-B-16-SigLIP")
    assert siglip.spec.pipeline == "zoo_multimodal.clip_tokenizer:canonical_text_pipeline"
    assert siglip.spec.options["pad"] == 1
    assert "tokenizer.json?" in siglip.weights.companions
    assert registry.model("clip-image/ViT-B-16-SigLIP").weights.companions == ()
    assert registry.model("clip-text/ViT-L-14-CLIPA").spec.options["drop"] == 102
    assert registry.model("clip-text/ViT-B-32").spec.pipeline == "zoo_multimodal.clip_tokenizer:clip_text_pipeline"


def test_the_list_imports_nothing_heavy() -> None:
    code = (
        "import sys, zoo_multimodal.clip_list;"
        "print(sorted({'torch', 'open_clip', 'timm', 'numpy', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
