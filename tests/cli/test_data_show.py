from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from zoo import default_registry
from zoo.cli.main import run
from zoo.data.preview import guess_modality


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    rows = "".join(f"film number {i},{'good' if i % 2 else 'bad'}\n" for i in range(20))
    (tmp_path / "reviews.csv").write_text(f"text,label\n{rows}film number 0,bad\n")
    return tmp_path / "reviews.csv"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, width in (("cat", 20), ("dog", 30)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (width, 10 + number)).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "photos" / "dog" / "9.png").write_text("junk")
    return tmp_path / "photos"


def test_show_texts(reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "show", str(reviews), "--json"]) == 0
    talk = capsys.readouterr()
    found = json.loads(talk.out)
    train = found["splits"]["train"]
    assert (found["schema_version"], found["task"], found["modality"]) == (1, "classification", "text")
    assert train["words"] == {"min": 3, "median": 3, "p95": 3, "max": 3}
    assert sum(one["labels"]["good"] for one in found["splits"].values()) == 10
    assert all(one["label"] == ("good" if int(one["input"].split()[-1]) % 2 else "bad") for one in train["first"])
    assert "columns of reviews.csv: input = text, label = label" in found["notes"]
    assert run(["data", "show", str(reviews)]) == 0
    shown = capsys.readouterr().out
    assert "reviews: classification of text data" in shown
    assert "film number 1  ->  good" in shown


def test_show_tags_questions_and_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.conll").write_text("Ann\tB-x\nsang\tO\n\n" * 4)
    assert run(["data", "show", str(tmp_path / "t.conll")]) == 0
    assert "Ann sang  ->  B-x O" in capsys.readouterr().out
    records = [
        {"question": "where?", "context": f"in Rome {i}", "answers": {"text": ["Rome"], "answer_start": [3]}}
        for i in range(4)
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert run(["data", "show", str(tmp_path / "q.jsonl")]) == 0
    assert "where? | in Rome 0  ->  Rome" in capsys.readouterr().out.replace("Rome 1", "Rome 0").replace(
        "Rome 2", "Rome 0"
    )
    (tmp_path / "n.csv").write_text("sentence1,sentence2,score\n" + "".join(f"a b,c d {i},{i / 2}\n" for i in range(8)))
    assert run(["data", "show", str(tmp_path / "n.csv"), "--task", "embedding"]) == 0
    assert "mean" in capsys.readouterr().out


def test_show_images(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "show", str(photos), "--json", "--val-fraction", "0.4"]) == 0
    found = json.loads(capsys.readouterr().out)
    sizes = [one["sizes"] for one in found["splits"].values()]
    assert found["modality"] == "image"
    assert sum(one["unreadable"] for one in sizes) == 1
    assert min(one["width"][0] for one in sizes) == 20
    assert max(one["height"][1] for one in sizes) == 14
    assert run(["data", "show", str(photos)]) == 0
    assert "1 unreadable" in capsys.readouterr().out


def test_the_modality_is_guessed_from_files_and_tables(photos: Path, reviews: Path) -> None:
    registry = default_registry()
    table = photos.parent / "pictures.csv"
    table.write_text("file,kind\n" + "".join(f"photos/cat/{i}.png,{i % 2}\n" for i in range(5)))
    assert guess_modality(str(table), registry) == "image"
    assert guess_modality(str(photos), registry) == "image"
    assert guess_modality(str(reviews), registry) == "text"
    assert guess_modality("cats_dogs", registry) == "image"
    assert guess_modality("nosuch", registry) == "text"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["nosuch"], 3), (["{reviews}", "--label-column", "none"], 6), (["{reviews}", "--task", "magic"], 2), ([], 2)],
)
def test_exit_codes(reviews: Path, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "show", *(argument.format(reviews=reviews) for argument in arguments)]) == code
    assert capsys.readouterr().out == ""
