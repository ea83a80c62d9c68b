"""The list of torchaudio's bundles: it loads without torch, agrees with what would be generated, and is whole."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo_audio.bundles_list import BUNDLE_WEIGHTS, BUNDLES
from zoo_registry import Candidate, build_registry


@pytest.fixture(scope="module")
def registry() -> Any:
    from zoo_audio import plugin

    return build_registry([Candidate("audio", "zookit", lambda: plugin)], autoload=False)


@pytest.fixture(scope="module")
def generator() -> Any:
    return importlib.import_module("generate_audio_catalogue")


def test_loads_whole(registry: Any) -> None:
    (record,) = registry.plugins()
    assert (record.status, record.error) == ("ok", "")


def test_no_drift(generator: Any, capsys: Any) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_drift_is_noticed(generator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    few = {name: bundle for name, bundle in generator.bundles().items() if name in ("wavlm_base", "hubert_asr_large")}
    monkeypatch.setattr(generator, "FILE", tmp_path / "catalogue.json")
    monkeypatch.setattr(generator, "bundles", lambda: few)
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    monkeypatch.setattr(generator, "SERVER", "https://example.invalid/")
    assert generator.main(["--check"]) == 1
    assert "example.invalid" in capsys.readouterr().err


def test_every_bundle_of_torchaudio_is_there(generator: Any) -> None:
    from torchaudio import pipelines

    names = {name.lower() for name in dir(pipelines) if hasattr(getattr(pipelines, name), "_normalize_waveform")}
    assert {spec.name for spec in BUNDLES} == names
    assert len(names) >= 30
    assert {"wav2vec2_base", "hubert_asr_large", "wavlm_base_plus", "wav2vec2_xlsr53", "mms_fa"} <= names


# From the papers: 95, 317, 94 million and so on; to the digit from torchaudio.
@pytest.mark.parametrize(
    ("name", "family", "dim", "params", "labels", "licence", "normalise"),
    [
        ("wav2vec2_base", "wav2vec2", 768, 94_370_944, 0, "mit", False),
        ("wav2vec2_asr_base_960h", "wav2vec2", 768, 94_393_245, 29, "mit", False),
        ("wav2vec2_xlsr_2b", "wav2vec2", 1920, 2_159_257_728, 0, "mit", True),
        ("hubert_base", "hubert", 768, 94_370_944, 0, "mit", False),
        ("hubert_xlarge", "hubert", 1280, 962_492_544, 0, "mit", True),
        ("wavlm_large", "wavlm", 1024, 315_452_096, 0, "mit", True),
        ("voxpopuli_asr_base_10k_fr", "wav2vec2", 768, 94_404_011, 43, "cc-by-nc-4.0", False),
        ("mms_fa", "wav2vec2", 1024, 315_466_396, 28, "cc-by-nc-4.0", True),
    ],
)
def test_facts(
    registry: Any, name: str, family: str, dim: int, params: int, labels: int, licence: str, normalise: bool
) -> None:
    found = registry.model(name)
    spec, weights = found.spec, found.weights
    assert (spec.family, spec.dim, spec.params, spec.license) == (family, dim, params, licence)
    assert (weights.num_classes, weights.license, weights.trust_first) == (labels, licence, True)
    assert spec.options["normalise"] is normalise


def test_places(registry: Any) -> None:
    base = registry.model("wav2vec2-base-960h")
    assert base.id == "audio/wav2vec2_asr_base_960h"
    assert base.weights.sources == (
        "url:https://download.pytorch.org/torchaudio/models/wav2vec2_fairseq_base_ls960_asr_ls960.pth",
        "hub:facebook/wav2vec2-base-960h",
    )
    aligner = registry.model("mms_fa").weights
    assert aligner.sources == ("url:https://dl.fbaipublicfiles.com/mms/torchaudio/ctc_alignment_mling_uroman/model.pt",)
    assert all(weights.sources[0].startswith("url:https://") for weights in BUNDLE_WEIGHTS)


@pytest.mark.parametrize("name", ["wav2vec2_base", "hubert_large", "wavlm_base_plus", "mms_fa"])
def test_the_records_build(registry: Any, name: str) -> None:
    """On the meta device: hundreds of millions of parameters in no time."""
    from zoo_audio.wav2vec_backbone import FACTORIES, Wav2VecBackbone

    spec = registry.model(name).spec
    with torch.device("meta"):
        module = FACTORIES[spec.options["network"]](**spec.options["config"], aux_num_out=None)
    backbone = Wav2VecBackbone(module, spec, spec.input, spec.options["normalise"])
    assert backbone.dim == spec.dim
    assert backbone.frame_seconds == 0.02
    assert len(backbone.layer_groups()) >= 14


def test_the_lists_import_nothing_heavy() -> None:
    code = (
        "import sys, zoo_audio.bundles_list, zoo_audio.heads_list;"
        "print(sorted({'torch', 'torchaudio', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
