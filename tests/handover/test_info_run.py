"""``zoo info RUN``: what a run came to, and how to go on from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finetuning import finetune, write_photos
from texting import write_reviews

from zoo.cli.main import run


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("info")
    photos = write_photos(folder / "photos", train=6, val=3)
    assert finetune(photos, folder / "run", "--strategy", "head", "--head-epochs", "2") == 0
    return folder / "run"


def told(path: Path, capsys: pytest.CaptureFixture[str]) -> dict:
    capsys.readouterr()
    assert run(["info", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_of_a_finetune(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(tuned, capsys)
    assert (facts["kind"], facts["verb"], facts["status"]) == ("run", "finetune", "finished")
    assert (facts["model"], facts["weights"]["id"]) == ("vision/test_resnet", "none")
    assert facts["learned"] == {"task": "classification", "strategy": "head", "head": "core/classification"}
    assert facts["data"]["sizes"] == {"train": 12, "val": 6}
    assert facts["metrics"] == json.loads((tuned / "manifest.json").read_text())["metrics"]
    assert len(facts["intervals"]["accuracy"]) == 2
    assert facts["steps"] == {"head": 2}
    assert facts["report"] == str(tuned / "report.html")
    assert facts["next"][0] == f"zoo predict {tuned} INPUT..."
    assert run(["info", str(tuned)]) == 0
    shown = capsys.readouterr().out
    for part in ("started from  random numbers", "classification, strategy head", "train 12, val 6", "zoo export"):
        assert part in shown


def test_of_a_pretraining_and_of_what_started_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviews, base = write_reviews(tmp_path / "reviews", train=12, val=6), tmp_path / "base"
    command = ["pretrain", "bert_tiny", "--objective", "mlm", "--data", str(reviews), "--device", "cpu"]
    assert run([*command, "--max-length", "16", "--epochs", "1", "--output", str(base)]) == 0
    facts = told(base, capsys)
    assert facts["learned"]["objective"] == "mlm"
    assert facts["learned"]["options"]["share"] == 0.15
    assert [line.split()[1] for line in facts["next"]] == ["finetune", "evaluate", "publish"]
    assert f"zoo evaluate {base} --probe knn --data DATA" in facts["next"]


def test_of_a_run_that_was_stopped(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((tuned / "manifest.json").read_text())
    del manifest["metrics"]
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    (tmp_path / "config.yaml").write_text((tuned / "config.yaml").read_text())
    facts = told(tmp_path, capsys)
    assert (facts["report"], facts["metrics"], facts["steps"]) == (None, {}, {})
    assert facts["next"] == [f"zoo finetune --resume {tmp_path}"]
    assert run(["info", str(tmp_path)]) == 0


def test_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text("{")
    assert run(["info", str(tmp_path)]) == 2
    assert run(["info", "no_such_name"]) == 3


def test_it_imports_no_torch(tuned: Path) -> None:
    import subprocess
    import sys

    code = f"import sys; from zoo.cli.main import run; run(['info', {str(tuned)!r}]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
