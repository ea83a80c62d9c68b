"""The whole way: pairs, pretraining, the image tower with a zero-shot head, and both sides' vectors."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import soundfile
import torch
import tower_toys
from tower_toys import picture, png

from zoo.cli.main import run
from zoo.torch_pair import TorchPair
from zoo.trained import load_trained, pipeline_for
from zoo.weights import identify_weights, load_backbone
from zoo.zeroshot import ZeroShot

CAPTIONS = ("a photo of a bar code", "a drawing of a dot", "a photo of the sea grass")


def write_pairs(folder: Path, count: int = 48) -> Path:
    folder.mkdir()
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for i in range(count):
            (folder / f"{i}.png").write_bytes(png(picture(i % 3, 9000 + i)))
            writer.writerow([f"{i}.png", CAPTIONS[i % 3]])
    return folder / "pairs.csv"


def test_pairs_to_a_classifier(pictures, tmp_path, capsys):
    pairs, base, tuned = write_pairs(tmp_path / "pairs"), tmp_path / "base", tmp_path / "tuned"
    command = ["pretrain", "toy-pair@made", "--objective", "clip", "--data", str(pairs), "-o", str(base)]
    assert run([*command, "--device", "cpu", "--epochs", "2", "--batch-size", "16", "--lr", "1e-3"]) == 0
    command = ["finetune", str(base), "--data", str(pictures), "-o", str(tuned), "--device", "cpu"]
    capsys.readouterr()
    assert run([*command, "--head", "zero-shot", "--wise-ft", "0.5", "--epochs", "2", "--batch-size", "8"]) == 0
    assert "model: the image tower of toys/toy-pair" in capsys.readouterr().err
    noted = json.loads((tuned / "evaluation.json").read_text())["wise_ft"]["points"]
    assert noted[0]["metrics"]["accuracy"] > 0.5
    files = {}
    for side, data in (("image", pictures / "val"), ("text", pairs)):
        files[side] = tmp_path / f"{side}.parquet"
        command = ["embed", str(base), "--tower", side, "--data", str(data), "-o", str(files[side]), "--normalise"]
        more = ["--input-column", "caption"] if side == "text" else []
        assert run([*command, *more, "--device", "cpu"]) == 0
    one, other = (np.array(parquet.read_table(file).column("embedding").to_pylist()) for file in files.values())
    assert one.shape[1] == other.shape[1]
    right = (one @ other[:3].T).argmax(1) == np.arange(3).repeat(5)
    assert right.mean() > 0.5


def test_sounds_begin_with_the_names_of_their_classes(weights, tmp_path, registry):
    name = "dual/emformer+bert_tiny"
    spec = identify_weights(name, weights="none", registry=registry, max_length=12, seconds=0.5).input
    input = dataclasses.replace(spec, assets=str(weights / tower_toys.PACKAGE))
    loaded = load_backbone(name, weights="none", registry=registry, input=input)
    base, data, tuned = tmp_path / "base", tmp_path / "data", tmp_path / "run"
    tower_toys.leave_run(base, loaded)
    time = np.arange(4000) / 16000
    for split, count in (("train", 4), ("val", 2)):
        for pitch, label in ((200, "low"), (900, "high")):
            (data / split / label).mkdir(parents=True)
            for i in range(count):
                wave = 0.3 * np.sin(2 * np.pi * (pitch + 10 * i) * time)
                soundfile.write(data / split / label / f"{i}.wav", wave, 16000)
    command = ["finetune", str(base), "--data", str(data), "--head", "zero-shot", "--epochs", "1", "-o", str(tuned)]
    assert run([*command, "--wise-ft", "0", "--device", "cpu", "--batch-size", "4"]) == 0
    pair = TorchPair(loaded.backbone, pipeline_for(loaded.model_id, input, registry), {"model_id": name}, device="cpu")
    zero_shot = ZeroShot(pair, ("high", "low"))
    trained = load_trained(tuned, registry)
    sound = trained.pipeline.decode(str(data / "val" / "low" / "0.wav"))
    batch = {"waveform": torch.from_numpy(sound)[None], "length": torch.tensor([len(sound)]), "index": torch.arange(1)}
    with torch.no_grad():
        logits = trained.task.head(trained.task.backbone(trained.pipeline.prepare(batch)))
    assert np.allclose(logits.numpy(), zero_shot.run([sound])[0], atol=1e-3)
