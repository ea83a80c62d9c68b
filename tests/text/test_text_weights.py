"""Weights with companions: found together, fetched together, and said by name where one is missing."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from local_hub import Server, local_hub
from safetensors.torch import load_file, save_file
from text_toys import tiny, write_config, write_tokenizer

import zoo
from zoo.weights import identify_weights, load_backbone
from zoo.weights.sources import cache_slot, find
from zoo_registry.errors import UsageError, WeightsError
from zoo_registry.hooks import hookimpl
from zoo_registry.registry import Registry, build_registry
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec
from zoo_text.pipeline import text_pipeline

COMPANIONS = ("config.json", "tokenizer.json?", "vocab.txt?")
ID = "toy/tiny@v1"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder as on the hub."""
    torch.manual_seed(1)
    folder = write_config(write_tokenizer(tmp_path / "published"), "bert", architectures=["BertForMaskedLM"])
    state = {f"bert.{name}": tensor for name, tensor in tiny("bert").module.state_dict().items()}
    save_file({**state, "cls.predictions.bias": torch.zeros(50)}, folder / "model.safetensors")
    return folder


def weights(*sources: str, **fields: Any) -> WeightsSpec:
    values: dict[str, Any] = {"head_keys": ("cls",), "companions": COMPANIONS, **fields}
    return WeightsSpec(model="tiny", tag="v1", sources=sources or ("hub:toy/absent",), **values)


def registry_with(record: WeightsSpec) -> Registry:
    model = ModelSpec(
        name="tiny",
        builder="zoo_text.transformers_backbone:build_transformer",
        pipeline="zoo_text.pipeline:text_pipeline",
        input=InputSpec(modality="text", size=(16,)),
        default_weights="v1",
        context=40,
        fit_input="zoo_text.tokenizer_training:fit_tokenizer",
    )

    class Plugin:
        @hookimpl
        def zoo_models(self) -> list[ModelSpec]:
            return [model]

        @hookimpl
        def zoo_weights(self) -> list[WeightsSpec]:
            return [record]

    return build_registry(plugins=[("toy", Plugin())], autoload=False)


def usable(loaded: Any) -> bool:
    made = text_pipeline(loaded.input)
    made.check_backbone(loaded.backbone)
    array = made.decode("the cat")
    batch = {name: torch.from_numpy(tensor) for name, tensor in made.tokens.model_inputs([array]).items()}
    return tuple(loaded.backbone(batch).pooled.shape) == (1, 16)


def test_companions_lie_beside_the_file_of_a_package(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = checkpoint.parent / "site" / "toy_text_package"
    shutil.copytree(checkpoint, package / "model")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(package.parent))
    registry = registry_with(weights("package:toy_text_package/model/model.safetensors"))
    loaded = load_backbone("tiny", registry=registry)
    assert loaded.input.assets == str(package / "model")
    assert usable(loaded)
    (package / "model" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"lacks config\.json beside it"):
        identify_weights("tiny", registry=registry)


def test_the_cache_slot_must_hold_them(checkpoint: Path) -> None:
    slot = cache_slot(ID)
    slot.mkdir(parents=True)
    shutil.copy(checkpoint / "model.safetensors", slot)
    with pytest.raises(WeightsError, match=r"lacks config\.json beside it") as error:
        find(ID, weights())
    assert str(slot) in error.value.remedy
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(checkpoint / name, slot)
    assert usable(load_backbone("tiny", registry=registry_with(weights())))


def test_weights_without_companions_have_no_assets(checkpoint: Path) -> None:
    slot = cache_slot(ID)
    shutil.copytree(checkpoint, slot)
    found = find(ID, weights(companions=()))
    assert found
    assert found.assets == ""


def test_a_folder_of_the_users(checkpoint: Path) -> None:
    for path in (checkpoint, checkpoint / "model.safetensors"):
        loaded = load_backbone("tiny", weights=str(path), registry=registry_with(weights()))
        assert loaded.input.assets == str(checkpoint)
        assert usable(loaded)
    (checkpoint / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"lacks config\.json beside it"):
        identify_weights("tiny", weights=str(checkpoint), registry=registry_with(weights()))


def test_a_run_folder_holds_its_own(checkpoint: Path, tmp_path: Path) -> None:
    registry = registry_with(weights())
    loaded = load_backbone("tiny", weights=str(checkpoint), registry=registry, max_length=9)
    model = tmp_path / "run" / "model"
    text_pipeline(loaded.input).save_assets(model)
    save_file(loaded.backbone.module.state_dict(), model / "backbone.safetensors")
    contract = dataclasses.asdict(dataclasses.replace(loaded.input, assets=""))
    (model / "model.json").write_text(json.dumps({"model_id": "toy/tiny", "input": contract}))
    shutil.rmtree(checkpoint)
    again = load_backbone("tiny", weights=str(tmp_path / "run"), registry=registry)
    assert again.input == dataclasses.replace(loaded.input, assets=str(model))
    assert usable(again)
    longer = identify_weights("tiny", weights=str(tmp_path / "run"), registry=registry, max_length=20)
    assert longer.input.size == (20,)


def test_longest_texts(checkpoint: Path) -> None:
    registry = registry_with(weights())
    path = str(checkpoint)
    assert identify_weights("tiny", weights=path, registry=registry).input.size == (16,)
    assert identify_weights("tiny", weights=path, registry=registry, max_length=40).input.size == (40,)
    assert identify_weights("tiny", weights="none", registry=registry, max_length=7).input.size == (7,)
    with pytest.raises(UsageError, match="at most 40 tokens, not 41"):
        identify_weights("tiny", weights=path, registry=registry, max_length=41)
    with pytest.raises(UsageError, match="0 tokens makes no sense"):
        identify_weights("tiny", weights=path, registry=registry, max_length=0)
    with pytest.raises(UsageError, match="no images"):
        identify_weights("tiny", weights=path, registry=registry, size=64)
    with pytest.raises(UsageError, match="no texts"):
        identify_weights("resnet18", weights="none", max_length=64)


def test_a_local_folder_by_name(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)
    loaded = load_backbone("hf:./published")
    assert loaded.model_id == f"text/hf:{checkpoint}"
    assert loaded.weights_id == f"{loaded.model_id}@local"
    assert loaded.input.size == (40,)  # no longer than its positions reach
    assert usable(loaded)
    again = load_backbone(loaded.model_id, weights="local")  # as a run's configuration pins it
    assert again.sha256 == loaded.sha256
    for name, says in (("hf:./gone", "There is no folder"), ("hf:.", "holds no weights")):
        with pytest.raises(WeightsError, match=says):
            identify_weights(name)


# Several files ----------------------------------------------------------------------------------------------------


def split_in_two(checkpoint: Path) -> list[str]:
    """The checkpoint's one file as two and their index, the way large models are published."""
    whole = checkpoint / "model.safetensors"
    state = load_file(whole)
    whole.unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    halves = dict(zip(names, (sorted(state)[::2], sorted(state)[1::2]), strict=True))
    for name, keys in halves.items():
        save_file({key: state[key] for key in keys}, checkpoint / name)
    index = {"metadata": {}, "weight_map": {key: name for name, keys in halves.items() for key in keys}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    return names


def test_a_checkpoint_in_several_files(checkpoint: Path) -> None:
    registry = registry_with(weights())
    whole = load_backbone("tiny", weights=str(checkpoint), registry=registry)
    names = split_in_two(checkpoint)
    parts = load_backbone("tiny", weights=str(checkpoint), registry=registry)
    assert usable(parts)
    state = parts.backbone.module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in whole.backbone.module.state_dict().items())
    shard = checkpoint / names[1]
    changed = {key: value + 1 for key, value in load_file(shard).items()}
    save_file(changed, shard)
    os.utime(shard, ns=(1, 1))
    assert identify_weights("tiny", weights=str(checkpoint), registry=registry).sha256 != parts.sha256
    shard.unlink()
    with pytest.raises(WeightsError, match=r"names model-00002-of-00002\.safetensors, which is not beside it"):
        load_backbone("tiny", weights=str(checkpoint), registry=registry)


@pytest.mark.parametrize("content", ['{"weight_map": {"a": "../x.safetensors"}}', '{"weight_map": []}', "{", "[]"])
def test_an_index_that_cannot_be_trusted(content: str, checkpoint: Path) -> None:
    split_in_two(checkpoint)
    (checkpoint / "model.safetensors.index.json").write_text(content)
    with pytest.raises(WeightsError, match=r"no weights file beside it|no index of weights"):
        load_backbone("tiny", weights=str(checkpoint), registry=registry_with(weights()))


# Servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path) -> Iterator[type[Server]]:
    """A hub with the checkpoint as ``toy/net``, also as its revision ``v2``."""
    files = {
        f"/toy/net/resolve/{revision}/{path.name}": path.read_bytes()
        for revision in ("main", "v2")
        for path in checkpoint.iterdir()
    }
    with local_hub(monkeypatch, tmp_path, files) as (_, handler):
        yield handler


def test_companions_are_fetched_with_the_weights_and_found_again(
    hub: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = registry_with(weights("hub:toy/net"))
    loaded = load_backbone("tiny", registry=registry)
    assert usable(loaded)
    assert sorted(os.listdir(loaded.input.assets)) == ["config.json", "model.safetensors", "tokenizer.json"]
    asked = len(hub.asked)
    assert load_backbone("tiny", registry=registry).input == loaded.input
    assert len(hub.asked) == asked  # also of the absent vocab.txt the cache knows
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert load_backbone("tiny", registry=registry).input == loaded.input


def test_a_repository_without_a_needed_companion(hub: type[Server]) -> None:
    del hub.files["/toy/net/resolve/main/config.json"]
    with pytest.raises(WeightsError, match=r"it holds no config\.json"):
        find(ID, weights("hub:toy/net"))


def test_weights_that_came_alone_are_completed(hub: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(ID, weights("hub:toy/net", companions=()))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(WeightsError, match="OFFLINE is set"):
        find(ID, weights("hub:toy/net"))
    monkeypatch.setenv("ZOO_OFFLINE", "0")
    found = find(ID, weights("hub:toy/net", companions=("config.json",)))
    assert found
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert find(ID, weights("hub:toy/net"))  # what is needed is there; the rest cannot be asked for
    monkeypatch.setenv("ZOO_OFFLINE", "0")
    completed = find(ID, weights("hub:toy/net"))
    assert completed
    assert Path(completed.assets, "tokenizer.json").is_file()


def test_what_is_here_serves_where_the_hub_does_not_answer(hub: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(ID, weights("hub:toy/net", companions=("config.json",)))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert find(ID, weights("hub:toy/net"))


def test_several_files_are_fetched_and_found_again(
    hub: type[Server], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = split_in_two(checkpoint)
    del hub.files["/toy/net/resolve/main/model.safetensors"]
    for name in (*names, "model.safetensors.index.json"):
        hub.files[f"/toy/net/resolve/main/{name}"] = (checkpoint / name).read_bytes()
    last = hub.files.pop(f"/toy/net/resolve/main/{names[1]}")
    with pytest.raises(WeightsError, match=rf"it holds no {names[1]}"):
        load_backbone("hf:toy/net")
    hub.files[f"/toy/net/resolve/main/{names[1]}"] = last  # the connection is back
    loaded = load_backbone("hf:toy/net")
    assert usable(loaded)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert load_backbone("hf:toy/net").sha256 == loaded.sha256


@pytest.mark.parametrize("revision", ["", "@v2"])
def test_any_model_of_the_hub(hub: type[Server], revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_backbone(f"hf:toy/net{revision}")
    assert usable(loaded)
    assert loaded.weights_id == f"text/hf:toy/net@{revision[1:] or 'main'}"
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    pinned = load_backbone(loaded.model_id, weights=loaded.weights_id.partition("@")[2])
    assert (pinned.weights_id, pinned.sha256) == (loaded.weights_id, loaded.sha256)
    run = zoo.default_registry().model(loaded.model_id)
    assert run.spec.options["repo"] == "toy/net"
