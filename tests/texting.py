"""Tiny texts and the command line in-process, for tests of whole runs."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

from zoo.cli.main import run

TINY = ["--device", "cpu", "--max-length", "24"]
GOOD = ("lovely", "bright", "warm", "funny")
BAD = ("dull", "grim", "cold", "slow")
FILLER = ("the", "film", "a", "story", "of", "people", "and", "their", "house", "again", "scene", "music")


def sentence(number: int, words: tuple[str, ...]) -> str:
    """Filler of very different lengths around two telling words."""
    draw = random.Random(number)
    filler = [draw.choice(FILLER) for _ in range(draw.randint(1, 16))]
    for word in draw.sample(words, 2):
        filler.insert(draw.randint(0, len(filler)), word)
    return " ".join(filler)


def write_reviews(folder: Path, *, train: int = 48, val: int = 24) -> Path:
    """``train.csv`` and ``val.csv`` with columns text and label."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, start in (("train", train, 0), ("val", val, 10_000)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for i in range(count):
                writer.writerow([sentence(start + i, BAD if i % 2 else GOOD), "bad" if i % 2 else "good"])
    return folder


def write_tagged(folder: Path, *, train: int = 30, val: int = 12) -> Path:
    """CoNLL files: names after ``mr`` are persons, after ``in`` places; blank lines hold a tab."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, start in (("train", train, 0), ("val", val, 10_000)):
        lines = []
        for i in range(count):
            draw = random.Random(start + i)
            for _ in range(draw.randint(1, 4)):
                lines += [f"{draw.choice(FILLER)}\tO"]
            lines += ["mr\tO", f"{draw.choice(GOOD)}\tB-person", f"{draw.choice(BAD)}\tI-person"]
            lines += ["in\tO", f"{draw.choice(BAD)}\tB-place", "\t"]
        (folder / f"{split}.conll").write_text("\n".join(lines) + "\n")
    return folder


def write_questions(folder: Path, *, train: int = 24, val: int = 8) -> Path:
    """SQuAD files: where is the thing? The answer follows ``in``."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, start in (("train", train, 0), ("dev", val, 10_000)):
        paragraphs = []
        for i in range(count):
            draw = random.Random(start + i)
            place = draw.choice(BAD)
            context = f"{sentence(start + i, GOOD)} . the house is in {place} . {sentence(start + i + 7, GOOD)}"
            answer = {"text": place, "answer_start": context.index(f"in {place}") + 3}
            question = {"id": str(i), "question": "where is the house ?", "answers": [answer]}
            paragraphs.append({"context": context, "qas": [question]})
        data = {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}
        (folder / f"{split}.json").write_text(json.dumps(data))
    return folder


def finetune(data: Path | str, out: Path, *options: str, model: str = "bert_tiny") -> int:
    """Exit code of ``zoo finetune`` on a tiny BERT with random weights and a tokenizer of the data."""
    return run(["finetune", model, "--data", str(data), "--output", str(out), "--weights", "none", *TINY, *options])
