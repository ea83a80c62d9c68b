"""How sound is finetuned where nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hearing_toys import hearing_registry, write_recordings

import zoo
from zoo.config import FinetuneConfig, make_config
from zoo.recipes import finetune
from zoo.run import open_run
from zoo.strategies import STRATEGIES, Facts, Train, choose

CONFIG = make_config(FinetuneConfig, {"model": "m", "data": "d"})


def facts(**values: object) -> Facts:
    return Facts(**{"samples": 900, "pretrained": True, "groups": 9, "modality": "audio", **values})  # type: ignore[arg-type]


def test_the_models_own_strategy_is_taken_where_none_is_named() -> None:
    assert choose(None, pretrained=True) == "lp-ft"
    assert choose(None, pretrained=True, usual="full") == "full"
    assert choose(None, pretrained=True, usual="head") == "head"
    assert choose("lp-ft", pretrained=True, usual="full") == "lp-ft"
    assert choose(None, pretrained=False, usual="head") == "full"
    assert choose(None, pretrained=True, probe=False, usual="head") == "full"


def test_a_network_of_pictures_hears_for_the_first_time() -> None:
    (stage,) = STRATEGIES["full"](CONFIG, facts(foreign=True))
    assert isinstance(stage, Train)
    assert 20 <= stage.epochs <= 30
    assert stage.batch_size == 32
    assert stage.lr == 1e-3
    assert stage.lr * stage.layer_decay**8 == pytest.approx(3e-4, rel=0.01)
    assert stage.batchnorm == "train"  # its statistics are of pictures


def test_a_network_of_sound_is_changed_gently() -> None:
    (whole,) = STRATEGIES["full"](CONFIG, facts())
    _, gently = STRATEGIES["lp-ft"](CONFIG, facts())
    assert isinstance(whole, Train)
    assert isinstance(gently, Train)
    assert whole.lr == 1e-4
    assert gently.lr == 5e-5
    assert whole.batchnorm == gently.batchnorm == "frozen"


def test_the_usual_head_is_on_pooled_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other heads a plugin has for the task."""
    registry = hearing_registry()
    monkeypatch.setattr(zoo, "default_registry", lambda: registry)
    assert len(registry.heads_for("classification", "audio")) > 1
    data = write_recordings(tmp_path / "data", train=4, val=2)
    run = finetune("hearer", str(data), output=tmp_path / "run", weights="none", device="cpu", epochs=1).run
    assert (run / "model" / "head.safetensors").is_file()
    assert open_run(run).config["strategy"] == "full"
    assert '"head": "core/classification"' in (run / "model" / "model.json").read_text()
