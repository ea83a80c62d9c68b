"""References to code: resolved late, and what is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo_registry.builders import load_builder
from zoo_registry.errors import MissingDependency, PluginError


def test_resolves_dotted_attributes() -> None:
    assert load_builder("pathlib:Path") is Path
    assert load_builder("pathlib:Path.home", requires=("json", "os.path")) == Path.home


@pytest.mark.parametrize(
    ("requires", "extra", "remedy"),
    [
        (("no_such_package",), "vision", 'pip install "zookit[vision]"'),
        (("no_such_package",), "some-pip-name", "pip install some-pip-name"),
        (("json", "no_such_package"), "", "pip install no_such_package"),
    ],
)
def test_missing_packages(requires: tuple[str, ...], extra: str, remedy: str) -> None:
    with pytest.raises(MissingDependency, match="no_such_package, which is not installed") as error:
        # The requirement is looked at first: the module itself is never touched.
        load_builder("never.imported:thing", requires, extra)
    assert error.value.exit_code == 5
    assert error.value.remedy.endswith(remedy)


@pytest.mark.parametrize("ref", ["", "json", "json:", ":dumps", "json:nothing", "no_such_module:x", "json.nothing:x"])
def test_bad_references(ref: str) -> None:
    with pytest.raises(PluginError) as error:
        load_builder(ref)
    assert error.value.exit_code == 4
    assert error.value.remedy


def test_modules_that_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('cannot')\n")
    (tmp_path / "needs_something.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match="RuntimeError: cannot"):
        load_builder("breaks_on_import:build")
    with pytest.raises(MissingDependency, match="no_such_package"):
        load_builder("needs_something:build", extra="vision")
