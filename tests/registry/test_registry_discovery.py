"""The quick reader of entry points gives what importlib.metadata gives."""

from __future__ import annotations

import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from zoo_registry.discovery import EntryPoint, entry_points


def by_importlib(group: str) -> list[tuple[str, str, str, str]]:
    points = metadata.entry_points(group=group)
    return sorted((p.name, p.value, p.dist.name, p.dist.version) for p in points if p.dist)


def install(folder: Path, name: str, version: str, text: str, title: str = "") -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {title or name}\nVersion: {version}\n\nName: body\n")
    (info / "entry_points.txt").write_text(text)


@pytest.mark.parametrize("group", ["zoo.v1", "console_scripts", "pytest11", "no.such.group"])
def test_equal_on_this_environment(group: str) -> None:
    assert sorted(entry_points(group)) == by_importlib(group)


def test_equal_on_odd_installations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    install(first, "My_Dist", "1.0", "[zoo.v1]\n# comment\n a = pkg.mod \nb=pkg:attr.sub\n[other]\nc = x\n", "My.Dist")
    # The same distribution again, further back on the path: hidden.
    install(second, "my_dist", "0.5", "[zoo.v1]\nold = pkg\n", "my-dist")
    install(second, "other", "2.0", "[other]\nx = zoo.v1\n")
    egg = second / "legacy.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: legacy\nVersion: 3\n")
    (egg / "entry_points.txt").write_text("[zoo.v1]\nlegacy = pkg [extra]\n")
    monkeypatch.setattr(sys, "path", [str(first), str(second), str(tmp_path / "missing")])
    found = entry_points("zoo.v1")
    assert sorted(found) == by_importlib("zoo.v1")
    assert {point.name for point in found} == {"a", "b", "legacy"}
    assert {point.distribution for point in found} == {"My.Dist", "legacy"}


def test_zip_files_on_the_path_are_left_to_importlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("packed-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: packed\nVersion: 1\n")
        file.writestr("packed-1.dist-info/entry_points.txt", "[zoo.v1]\nzipped = packed\n")
    monkeypatch.setattr(sys, "path", [str(archive)])
    assert entry_points("zoo.v1") == [EntryPoint("zipped", "packed", "packed", "1")]


def test_load() -> None:
    assert EntryPoint("x", "os.path", "", "").load().join is not None
    assert EntryPoint("x", "pathlib:Path.cwd", "", "").load()() == Path.cwd()
    with pytest.raises(ModuleNotFoundError):
        EntryPoint("x", "no_such_module_here", "", "").load()
    with pytest.raises(AttributeError):
        EntryPoint("x", "os:nothing", "", "").load()
