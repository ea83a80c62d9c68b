"""The curated list: it loads without torch, agrees with what would be generated, and names what is known."""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zoo.weights import identify_weights
from zoo_registry import build_registry
from zoo_registry.errors import UnknownName


@pytest.fixture(scope="module")
def registry() -> Any:
    from zoo_registry import Candidate
    from zoo_text import plugin

    return build_registry([Candidate("text", "zookit", lambda: plugin)], autoload=False)


@pytest.fixture(scope="module")
def generator() -> Any:
    return importlib.import_module("generate_text_catalogue")


def test_loads_whole(registry: Any) -> None:
    (record,) = registry.plugins()
    assert (record.status, record.error) == ("ok", "")
    assert len(registry.models()) > 50


def test_no_drift(generator: Any, capsys: Any) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_drift_is_noticed(generator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(generator, "FILE", tmp_path / "catalogue.json")
    monkeypatch.setattr(generator, "ROWS", [row for row in generator.ROWS if row[0] in ("bert_tiny", "gpt2")])
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    monkeypatch.setattr(generator, "LENGTH", 100)
    assert generator.main(["--check"]) == 1
    assert '"length":100' in capsys.readouterr().err


# Published sizes; encoders without the pooler of their first training task.
@pytest.mark.parametrize(
    ("name", "dim", "params", "context"),
    [
        ("gpt2", 768, 124_439_808, 1024),
        ("pythia_70m", 512, 70_426_624, 2048),
        ("opt_350m", 512, 331_196_416, 2048),
        ("smollm2_135m", 576, 134_515_008, 8192),
        ("qwen2.5_0.5b", 896, 494_032_768, 32768),
        ("bert_base_uncased", 768, 109_482_240 - 768 * 769, 512),
        ("roberta_base", 768, 124_645_632 - 768 * 769, 512),
        ("all-minilm-l6-v2", 384, 22_713_216 - 384 * 385, 512),
    ],
)
def test_facts(registry: Any, name: str, dim: int, params: int, context: int) -> None:
    spec = registry.model(name).spec
    assert (spec.dim, spec.params, spec.context) == (dim, params, context)


def test_records_are_usable(registry: Any) -> None:
    for entry in registry.models():
        if entry.spec.prefix or entry.spec.default_weights is None:
            continue
        found = registry.model(entry.id)
        assert found.weights
        assert found.weights.companions[0] == "config.json"
        assert 0 < found.spec.input.size[0] <= found.spec.context
        assert found.spec.fit_input.endswith(":fit_causal_tokenizer") == (found.spec.options["pooling"] == "last")
    assert registry.model("bert-base-uncased").id == "text/bert_base_uncased"


def test_any_model_by_its_place(registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hf:org/some-name_1.0", "text/hf:org/some-name_1.0"):
        found = registry.model(name)
        assert found.id == "text/hf:org/some-name_1.0"
        assert found.spec.options["repo"] == "org/some-name_1.0"
        assert found.weights.sources == ("hub:org/some-name_1.0",)
        assert found.weights.tag == "main"
    dated = registry.model("hf:org/name@v2")
    assert (dated.weights.tag, dated.weights.sources) == ("v2", ("hub:org/name@v2",))
    monkeypatch.chdir(tmp_path)
    local = registry.model("hf:./here")
    assert local.id == f"text/hf:{tmp_path / 'here'}"
    assert (local.weights.tag, local.weights.sources) == ("local", (f"folder:{tmp_path / 'here'}",))
    assert registry.model(local.id).id == local.id
    for wrong in ("hf:", "hf:name", "hf:a/b/c", "hf:a b/c"):
        with pytest.raises(UnknownName, match="ORG/NAME"):
            registry.model(wrong)
    for name in ("hf", "text/hf"):  # listed, so it means something, but nothing that could be built
        assert registry.model(name).id == "text/hf"
        with pytest.raises(UnknownName, match="no model by itself"):
            identify_weights(name, registry=registry)


def test_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, zoo_text.plugin as p; p.zoo_models(); p.zoo_weights(); p.zoo_heads(); p.zoo_objectives();"
        "p.zoo_datasets(); print(sorted({'torch', 'transformers', 'tokenizers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_texts_are_tokenised_without_torch() -> None:
    code = "import sys, zoo.texts; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_sample_is_the_same_every_time(tmp_path: Path) -> None:
    from zoo_text.sample import SIZES, write_sst2

    write_sst2(tmp_path / "a")
    write_sst2(tmp_path / "b")
    texts: list[str] = []
    for split, size in SIZES.items():
        content = (tmp_path / "a" / f"{split}.csv").read_bytes()
        assert content == (tmp_path / "b" / f"{split}.csv").read_bytes()
        rows = list(csv.DictReader(content.decode().splitlines()))
        assert len(rows) == size
        assert sum(row["label"] == "positive" for row in rows) == size // 2
        texts += [row["text"] for row in rows]
    assert len(set(texts)) == len(texts)
