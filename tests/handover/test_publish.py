"""``zoo publish``: from a run to a package that pip installs and zoo knows, without a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from finetuning import finetune, write_photos
from safetensors.torch import load_file
from texting import write_reviews

import zoo
from zoo.cli.main import run
from zoo.publishing import publish
from zoo.publishing.wheel import write_wheel
from zoo_registry.errors import UsageError, WeightsError, ZooError
from zoo_registry.specs import InputSpec

WEIGHTS = "backbone.safetensors"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    photos = write_photos(folder / "photos", train=6, val=3)
    assert finetune(photos, folder / "run", "--strategy", "head", "--head-epochs", "1") == 0
    return folder / "run"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Path]]:
    """Unpack a wheel where this process finds it, as pip would."""
    before = set(sys.modules)

    def unpack(wheel: Path) -> Path:
        zipfile.ZipFile(wheel).extractall(tmp_path / "site")
        monkeypatch.syspath_prepend(tmp_path / "site")
        zoo.default_registry.cache_clear()
        return tmp_path / "site"

    yield unpack
    zoo.default_registry.cache_clear()
    for name in [name for name in sys.modules if name not in before and name.endswith(".plugin")]:
        del sys.modules[name]


INSTALLED = """
import json, os, sys, torch, zoo
from pathlib import Path
from safetensors.torch import load_file
from zoo.cli.main import run

weights, photos, out, site = map(Path, sys.argv[1:])
assert run(["info", "test_resnet", "--json"]) == 0
print()
for how in ({"name": "test_resnet@acme"}, {"name": "test_resnet", "weights": "package:test_resnet_acme"}):
    loaded = zoo.load(**how)
    want, got = load_file(weights), loaded.backbone.module.state_dict()
    assert want.keys() == got.keys() and all(torch.equal(want[k], got[k]) for k in want)
    print(loaded.weights_id, loaded.sha256, loaded.input.size)
command = ["finetune", "test_resnet@acme", "--data", str(photos), "--device", "cpu", "--strategy", "head"]
assert run([*command, "--head-epochs", "1", "-o", str(out)]) == 0
with (site / "test_resnet_acme" / "backbone.safetensors").open("r+b") as file:
    file.seek(-1, os.SEEK_END)
    file.write(bytes([255]))
sys.exit(run(command))
"""


def test_end_to_end(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Publish, install, see it listed, load equal weights, finetune from them; use that without the package."""
    out, site = tmp_path / "out", tmp_path / "site"
    assert run(["publish", str(tuned), "-o", str(out), "--name", "acme", "--license", "Apache-2.0", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["command"] == "zoo finetune test_resnet@acme --data DATA"
    assert {path.name for path in out.iterdir()} == {
        *("README.md", "model.json", WEIGHTS),
        "test_resnet_acme-0.1.0-py3-none-any.whl",
    }
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, answer["wheel"]], check=True, capture_output=True)

    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    photos, again = tuned.parent / "photos", tmp_path / "again"
    script = [sys.executable, "-c", INSTALLED, tuned / "model" / WEIGHTS, photos, again, site]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 5, done.stderr  # of the last call: the weights were changed
    assert "sha256" in done.stderr.splitlines()[-2]

    card, _, loaded = done.stdout.partition("\n\n")
    told = json.loads(card)
    (mine,) = [one for one in told["checkpoints"] if one["tag"] == "acme"]
    assert (mine["license"], mine["default"], mine["input"]["size"]) == ("Apache-2.0", False, [3, 32, 32])
    assert mine["here"] == str(site / "test_resnet_acme" / WEIGHTS)
    assert told["weights"] == "r160_in1k"  # the name means what it meant before
    digest = json.loads((tuned / "model" / "model.json").read_text())["sha256"][WEIGHTS]
    assert loaded.splitlines()[:2] == [
        f"vision/test_resnet@acme {digest} (3, 32, 32)",
        f"package:test_resnet_acme {digest} (3, 32, 32)",
    ]
    assert json.loads((again / "manifest.json").read_text())["weights"]["sha256"] == digest
    assert run(["evaluate", str(again)]) == 0  # here the package is not installed


def test_the_folder_is_a_model_to_start_from(tuned: Path, tmp_path: Path) -> None:
    made = publish(tuned, tmp_path / "out", name="acme")
    out, more = tmp_path / "more", ["--device", "cpu", "--strategy", "head", "--head-epochs", "1"]
    data = str(tuned.parent / "photos")
    assert run(["finetune", str(made.path), "--data", data, *more, "-o", str(out)]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["model_id"] == "vision/test_resnet"
    assert manifest["weights"]["sha256"] == json.loads((made.path / "model.json").read_text())["sha256"][WEIGHTS]


def test_the_card_says_what_is_so_and_its_code_runs(tuned: Path, tmp_path: Path, monkeypatch) -> None:
    made = publish(tuned, tmp_path / "out", name="acme", version="2.1")
    card = (made.path / "README.md").read_text()
    assert "pip install test_resnet_acme-2.1-py3-none-any.whl\nzoo finetune test_resnet@acme --data DATA" in card
    manifest = json.loads((tuned / "manifest.json").read_text())
    assert manifest["data"]["fingerprint"] in card
    assert f"| accuracy | {manifest['metrics']['accuracy']:.4f} |" in card
    assert "started from | random numbers" in card
    assert "Not stated" in card
    (snippet,) = [code for code in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "timm" in code]
    monkeypatch.chdir(made.path)
    scope: dict[str, torch.nn.Module] = {}
    exec(snippet, scope)
    want = load_file(tuned / "model" / WEIGHTS)
    got = scope["model"].state_dict()
    assert all(torch.equal(want[name], got[name]) for name in got)


def test_no_path_of_this_machine_gets_out(tuned: Path, tmp_path: Path) -> None:
    """A run that started from a run, on data in a folder."""
    second = tmp_path / "second"
    data = tuned.parent / "photos"
    more = ["--device", "cpu", "--strategy", "head", "--head-epochs", "1"]
    assert run(["finetune", str(tuned), "--data", str(data), *more, "-o", str(second)]) == 0
    made = publish(second, tmp_path / "out", name="acme")
    for place in (str(data), str(tuned), str(second), str(tmp_path)):
        assert all(place.encode() not in path.read_bytes() for path in made.path.iterdir()), place
    assert "a file or run of the publisher's" in (made.path / "README.md").read_text()


def test_a_tokenizer_travels_with_the_weights(tmp_path: Path, install: Callable[[Path], Path]) -> None:
    reviews, base = write_reviews(tmp_path / "reviews", train=12, val=6), tmp_path / "base"
    command = ["pretrain", "lstm", "--objective", "mlm", "--data", str(reviews), "--device", "cpu"]
    assert run([*command, "--max-length", "16", "--epochs", "1", "--output", str(base)]) == 0
    made = publish(base, tmp_path / "out", name="reviews")
    assert (made.path / "tokenizer.json").is_file()
    site = install(made.wheel)
    loaded = zoo.load("lstm@reviews")
    assert loaded.input == InputSpec(modality="text", size=(16,), assets=str(site / "lstm_reviews"))


def test_what_cannot_be_listed_is_reached_as_a_package(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Callable[[Path], Path]
) -> None:
    monkeypatch.setattr("zoo.publishing.run._listable", lambda model, registry: False)
    made = publish(tuned, tmp_path / "out", name="acme")
    assert made.command == "zoo finetune package:test_resnet_acme --data DATA"
    site = install(made.wheel)
    assert not (site / "test_resnet_acme" / "plugin.py").exists()
    command = ["finetune", "package:test_resnet_acme", "--data", str(tuned.parent / "photos"), "--device", "cpu"]
    assert run([*command, "--strategy", "head", "--head-epochs", "1", "-o", str(tmp_path / "run")]) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["weights"]["id"] == "package:test_resnet_acme"
    assert run(["finetune", "--resume", str(tmp_path / "run")]) == 0


def test_what_stands_in_the_way_stays(tuned: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="other files"):
        publish(tuned, mine, force=True)
    assert (mine / "thesis.txt").read_text() == "years of work"
    publish(tuned, tmp_path / "out", name="acme")
    with pytest.raises(UsageError, match="published"):
        publish(tuned, tmp_path / "out", name="acme", version="2")
    publish(tuned, tmp_path / "out", name="acme", version="2", force=True)
    assert [path.name for path in (tmp_path / "out").glob("*.whl")] == ["test_resnet_acme-2-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "a/b"}, "no name"),
        ({"version": "one"}, "no version"),
        ({"license": "a\nb"}, "several lines"),
        ({"name": "r160_in1k"}, "already"),
    ],
)
def test_bad_options(tuned: Path, tmp_path: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        publish(tuned, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_runs_that_cannot_be_published(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["publish", str(tmp_path / "nothing"), "-o", str(tmp_path / "out")]) == 2
    copy = tmp_path / "copy"
    for name in ("manifest.json", "config.yaml", "model/model.json", f"model/{WEIGHTS}"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((tuned / name).read_bytes())
    (copy / "model" / WEIGHTS).write_bytes(b"else")
    with pytest.raises(WeightsError, match="not the file"):
        publish(copy, tmp_path / "out")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    assert run(["publish", str(copy), "-o", str(tmp_path / "out")]) == 2
    assert "--resume" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing(tuned: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo.publishing.run.write_wheel", full)
    with pytest.raises(ZooError, match="No space left"):
        publish(tuned, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_equal_contents_make_equal_wheels(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "data").write_bytes(bytes(range(256)))
    files: dict[str, Path | str] = {"thing/__init__.py": "", "thing/data": tmp_path / "data"}
    one, two = (
        write_wheel(tmp_path / place, "a-thing", "1.0", files, metadata={"Summary": "s"}, readme="# é")
        for place in ("a", "b")
    )
    assert one.read_bytes() == two.read_bytes()


def test_no_package_of_that_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_photos(tmp_path / "photos", train=2, val=1)
    for arguments in (["package:nosuch"], ["test_resnet", "--weights", "package:nosuch"]):
        assert run(["finetune", *arguments, "--data", str(photos)]) == 5
        assert "pip install nosuch" in capsys.readouterr().err
    with pytest.raises(WeightsError):
        zoo.load("test_resnet", weights="package:nosuch")
