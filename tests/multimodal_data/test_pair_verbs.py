"""Data of pairs through the commands: looked at, trained on, refused."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from captioned import caption, pictures, recording, samples, shard, text_side
from killing import kill_after_first_checkpoint
from safetensors.torch import load_file

import zoo
from zoo import launch
from zoo.cli.main import run
from zoo.config import PretrainConfig
from zoo.data.preview import guess_modality

MODEL = "dual/test_vit+bert_tiny"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    names = pictures(tmp_path / "data", 24)
    rows = "".join(f"{name},{caption(i)}\n" for i, name in enumerate(names))
    (tmp_path / "data" / "captions.csv").write_text(f"path,caption\n{rows}")
    return tmp_path / "data" / "captions.csv"


def test_pairs_are_shown(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table.parent / "000.png").write_bytes(b"broken")
    assert run(["data", "show", str(table), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["modality"], found["task"], set(found["splits"])) == ("image-text", "pretraining", {"train", "val"})
    train = found["splits"]["train"]
    assert train["distinct"] == {"image": train["samples"], "text": train["samples"]}
    assert train["words"] == {"min": 4, "median": 4, "p95": 4, "max": 4}
    assert train["first"][0]["input"][1].startswith("the ")
    sizes = [one["sizes"] for one in found["splits"].values()]
    assert sum(one["unreadable"] for one in sizes) == 1
    assert sizes[0]["width"] == [20, 20]
    assert run(["data", "show", str(table), "--modality", "image-text"]) == 0
    shown = capsys.readouterr().out
    assert "pretraining of image-text data" in shown
    first = re.search(r"first of train\n  (\S+) \| (.*)", shown)
    assert first
    assert first[2] == caption(int(Path(first[1]).stem))


def test_shards_and_sound_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard(tmp_path / "s" / "0.tar", samples(12))
    assert run(["data", "show", f"{tmp_path}/s/{{0..0}}.tar"]) == 0
    shown = capsys.readouterr().out
    first = re.search(r"first of train\n  \S+/0.tar: (\d+).png \| (.*)", shown)
    assert first
    assert first[2] == caption(int(first[1]))
    assert "20 x 20" in shown
    for i in range(4):
        recording(tmp_path / f"{i}.wav", 0.3, i)
    rows = "".join(f"{i}.wav,{caption(i)}\n" for i in range(4))
    (tmp_path / "t.csv").write_text(f"audio,caption\n{rows}")
    assert run(["data", "show", str(tmp_path / "t.csv"), "--modality", "audio-text", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"]["train"]["seconds"]["max"] == pytest.approx(0.3)


def test_what_is_looked_at_is_guessed(table: Path, tmp_path: Path) -> None:
    registry = zoo.default_registry()
    assert guess_modality(str(table), registry) == "image-text"
    assert guess_modality(str(table.parent), registry) == "image-text"
    assert guess_modality("shapes_captions", registry) == "image-text"
    labelled = tmp_path / "labelled.csv"
    labelled.write_text(table.read_text().replace("caption", "label", 1).replace("\n0", "\ndata/0"))
    assert guess_modality(str(labelled), registry) == "image"
    for i, name in enumerate(pictures(tmp_path / "beside", 4)):
        (tmp_path / "beside" / name).with_suffix(".txt").write_text(caption(i))
    assert guess_modality(str(tmp_path / "beside"), registry) == "image-text"
    (tmp_path / "beside" / "000.txt").unlink()
    (tmp_path / "beside" / "001.txt").unlink()
    assert guess_modality(str(tmp_path / "beside"), registry) == "image"


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("path,caption\nnone.png,some words\n", 6, "No file named in column 'path'"),
        ("path,caption\n000.png,\n001.png,\n002.png,words\n", 6, "More than 5% of 3 pairs"),
        ("path,caption\n000.png,one and only\n", 6, "too few samples"),
        ("path,caption,split\n000.png,a b,val\n001.png,c d,val\n", 6, "no training pairs"),
        ("path,n\n000.png,1\n", 6, "no column that looks like captions"),
        (b"\0" * 2000, 6, "holds no image files with captions"),
        pytest.param(gzip.compress(b"x" * 9000), 6, "compressed", id="gzip"),  # which holds the time
    ],
)
def test_bad_data_is_refused_with_its_code(
    table: Path, content: Any, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table.with_name("bad.tar" if isinstance(content, bytes) else "bad.csv")
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
    found = run(["pretrain", MODEL, "--objective", "clip", "--data", str(path), "--device", "cpu"])
    talk = capsys.readouterr().err
    assert found == code, talk
    assert said in talk
    assert "Traceback" not in talk


def test_options_that_do_not_fit_are_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["pretrain", "bert_tiny", "--objective", "mlm", "--data", str(table), "--pair-column", "caption"]
    assert run(texts) == 2
    assert "takes text alone" in capsys.readouterr().err
    assert run(["data", "show", str(table), "--modality", "image-text", "--task", "classification"]) == 2
    assert run(["pretrain", MODEL, "--objective", "clip", "--data", str(table), "--pair-column", "none"]) == 6
    assert "no column 'none'" in capsys.readouterr().err


def test_each_side_is_fitted_once_and_found_again(table: Path, tmp_path: Path) -> None:
    registry = zoo.default_registry()
    config = PretrainConfig(model=MODEL, data=str(table), objective="clip", weights="none", size=32)
    pairs = [(str(table.parent / "000.png"), caption(i)) for i in range(200)]
    first = launch.load(config, registry, lambda: pairs)
    assert (first.input.modality, first.input.parts[0].size) == ("image-text", (3, 32, 32))
    pipeline = zoo.trained.pipeline_for(first.model_id, first.input, registry, backbone=first.backbone)
    assert "Ġnumber" in pipeline.parts[1].tokenizer.get_vocab() or "number" in pipeline.parts[1].tokenizer.get_vocab()
    given = text_side(tmp_path / "mine")
    own = launch.load(config.model_copy(update={"tokenizer": str(tmp_path / "mine")}), registry, lambda: pairs)
    kept = zoo.trained.pipeline_for(own.model_id, own.input, registry)
    assert kept.parts[1].tokens.sha256 == given.tokens.sha256 != pipeline.parts[1].tokens.sha256


def test_a_killed_run_on_shards_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for number in range(3):
        shard(tmp_path / "shards" / f"{number:03d}.tar", samples(12, first=12 * number))
    words = ["--objective", "clip", "--data", f"{tmp_path}/shards/{{000..002}}.tar", "--val-fraction", "0.2"]
    sizes = ["--size", "32", "--epochs", "3", "--batch-size", "8", "--save-every", "2", "--device", "cpu"]
    command = ["pretrain", MODEL, *words, *sizes]
    assert run([*command, "-o", str(tmp_path / "whole")]) == 0
    kill_after_first_checkpoint([*command, "-o", str(tmp_path / "killed")], tmp_path / "killed")
    assert run(["pretrain", "--resume", str(tmp_path / "killed")]) == 0
    states = [load_file(tmp_path / name / "model" / "backbone.safetensors") for name in ("whole", "killed")]
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert (states[0][name] == states[1][name]).all(), name
    meta = json.loads((tmp_path / "whole" / "model" / "model.json").read_text())
    assert [part["modality"] for part in meta["input"]["parts"]] == ["image", "text"]
    (tmp_path / "shards" / "001.tar").write_bytes((tmp_path / "shards" / "000.tar").read_bytes())
    manifest = tmp_path / "killed" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"interrupted"', 1))
    assert run(["pretrain", "--resume", str(tmp_path / "killed")]) == 2
