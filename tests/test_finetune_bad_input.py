"""What users get wrong: one sentence on what is wrong, one on what to do, the designed exit code, nothing lost."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from finetuning import finetune, write_photos

from zoo.cli.main import run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", train=6, val=3)


def complaint(capsys) -> str:
    talk = capsys.readouterr().err
    assert "Traceback" not in talk
    assert "internal error" not in talk
    return talk


def test_unknown_model_suggests(photos, tmp_path, capsys):
    assert run(["finetune", "resnet51", "--data", str(photos), "-o", str(tmp_path / "run")]) == 3
    assert "resnet50" in complaint(capsys)
    assert not (tmp_path / "run").exists()


def test_unknown_data_suggests(tmp_path, capsys):
    assert finetune("cat_dogs", tmp_path / "run") == 3
    assert "cats_dogs" in complaint(capsys)


def test_unknown_strategy_and_head(photos, tmp_path, capsys):
    assert finetune(photos, tmp_path / "run", "--strategy", "lpft") == 3
    assert "lp-ft" in complaint(capsys)
    assert finetune(photos, tmp_path / "run", "--head", "clasification") == 3
    assert "classification" in complaint(capsys)


def test_a_head_for_another_task(photos, tmp_path, capsys):
    assert finetune(photos, tmp_path / "run", "--head", "regression") == 2
    assert "classification" in complaint(capsys)


def test_unreachable_weights_name_every_way_out(photos, tmp_path, capsys):
    assert run(["finetune", "resnet34", "--data", str(photos), "-o", str(tmp_path / "run")]) == 5
    talk = complaint(capsys)
    for way in ("--weights PATH", "--weights none", "zoo list --installed", "ZOO_OFFLINE"):
        assert way in talk
    assert not (tmp_path / "run").exists()


def test_truncated_foreign_and_dangerous_checkpoints(photos, tmp_path, capsys):
    target = tmp_path / "owned"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (target,))

    (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"state_dict": Bomb()}))
    (tmp_path / "half.safetensors").write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    for name in ("bomb.pth", "half.safetensors", "text.pth"):
        assert finetune(photos, tmp_path / "run", "--weights", str(tmp_path / name)) == 5, name
        complaint(capsys)
    assert not target.exists(), "a checkpoint must never run code"


def test_output_folder_in_use(photos, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    assert finetune(photos, tmp_path / "run") == 2
    assert "--output" in complaint(capsys)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


def test_resume_of_what_is_no_run(tmp_path, capsys):
    assert run(["finetune", "--resume", str(tmp_path)]) == 2
    assert "not a run" in complaint(capsys)
    assert run(["finetune", "--resume", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in complaint(capsys)


def test_resume_with_other_data(photos, tmp_path, capsys):
    out = tmp_path / "run"
    assert finetune(photos, out, "--epochs", "4", "--lr", "1e30", "--log-every", "1") == 1
    complaint(capsys)
    next((photos / "train" / "bar").iterdir()).unlink()
    assert run(["finetune", "--resume", str(out)]) == 2
    assert "changed" in complaint(capsys)


def test_resume_takes_no_other_settings(tmp_path, capsys):
    assert run(["finetune", "--resume", str(tmp_path), "--lr", "1"]) == 2
    complaint(capsys)


def test_loss_that_is_not_finite(photos, tmp_path, capsys):
    assert finetune(photos, tmp_path / "run", "--epochs", "8", "--lr", "1e30", "--log-every", "1") == 1
    assert "--lr" in complaint(capsys)


def test_empty_folder_and_one_class(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert finetune(tmp_path / "empty", tmp_path / "run") == 6
    complaint(capsys)
    lonely = write_photos(tmp_path / "lonely", classes=("bar",))
    assert finetune(lonely, tmp_path / "run") == 6
    assert "bar" in complaint(capsys)


def test_unknown_label_in_val(photos, tmp_path, capsys):
    (photos / "val" / "dot").rename(photos / "val" / "dott")
    assert finetune(photos, tmp_path / "run") == 6
    assert "dott" in complaint(capsys)


def test_corrupt_images_are_skipped_counted_listed(tmp_path, capsys):
    photos = write_photos(tmp_path / "photos", train=25)
    (photos / "train" / "bar" / "broken.jpg").write_bytes(b"not a picture")
    assert finetune(photos, tmp_path / "run", "--epochs", "1") == 0
    talk = complaint(capsys)
    assert "skipped 1 of 51" in talk
    assert "broken.jpg" in talk
    assert "broken.jpg" in (tmp_path / "run" / "report.html").read_text()


def test_too_many_corrupt_images_stop_the_run(photos, tmp_path, capsys):
    for i in range(3):
        (photos / "train" / "bar" / f"broken{i}.jpg").write_bytes(b"not a picture")
    assert finetune(photos, tmp_path / "run") == 6
    assert "broken0.jpg" in complaint(capsys)
    assert not (tmp_path / "run").exists()


def test_missing_column_and_bad_options(photos, tmp_path, capsys):
    (tmp_path / "table.csv").write_text("picture_of,kind\na.png,cat\nb.png,dog\n")
    assert finetune(tmp_path / "table.csv", tmp_path / "run", "--label-column", "label") == 6
    assert "kind" in complaint(capsys)
    assert finetune(photos, tmp_path / "run", "--cache-limit", "lots") == 2
    complaint(capsys)
    assert finetune(photos, tmp_path / "run", "--precision", "fp16") == 2
    assert "fp16" in complaint(capsys)
    assert finetune(photos, tmp_path / "run", "--device", "tpu") == 2
    complaint(capsys)
    assert run(["finetune", "test_resnet"]) == 2
    complaint(capsys)
    (tmp_path / "run.yaml").write_text("model: test_resnet\ndata: x\nlearnin_rate: 1\n")
    assert run(["finetune", "--config", str(tmp_path / "run.yaml")]) == 2
    assert "learnin_rate" in complaint(capsys)


def test_sample_is_refused_where_asked(tmp_path, capsys):
    assert finetune("cats_dogs", tmp_path / "run", "--no-sample") == 6
    assert "ZOO_DATA_PATH" in complaint(capsys)


def test_disk_full_while_training(photos, tmp_path, capsys, monkeypatch):
    """The checkpoint of the first epoch stays usable when the second finds the disk full."""
    from zoo.engine import checkpoint

    write, calls = checkpoint.write_tensors, []

    def full_later(path, tensors):
        calls.append(path)
        if len(calls) > 6:
            raise OSError(28, "No space left on device")
        write(path, tensors)

    monkeypatch.setattr(checkpoint, "write_tensors", full_later)
    out = tmp_path / "run"
    assert finetune(photos, out, "--epochs", "6") == 1
    assert "disk is full" in complaint(capsys)
    monkeypatch.setattr(checkpoint, "write_tensors", write)
    assert run(["finetune", "--resume", str(out)]) == 0
