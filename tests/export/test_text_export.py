"""Exports of text models end to end: parity for every task, the bundle's files, and prediction without torch."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from text_runs import WORDS, finish_run, write_model

from zoo.cli.main import main
from zoo.decoding import greedy
from zoo.exporting import bundle, export
from zoo.exporting.precision import to_int8_dynamic
from zoo.measure import evaluate
from zoo.predicting import predict
from zoo.serve_model import OnnxModel
from zoo.texts import from_description
from zoo.torch_model import TorchModel
from zoo_registry.errors import DataError, UsageError, ZooError

TASKS = (
    *("classification", "multi-label", "regression"),
    *("token-classification", "question-answering", "embedding", "generation"),
)


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS.split()) for _ in range(words))


def records(task: str, rng: random.Random) -> list[dict[str, Any]]:
    """Rows of a data set of that task, of texts of very different lengths."""
    texts = [sentence(rng, rng.randint(1, 20)) for _ in range(40)]
    if task == "classification":
        return [{"text": text, "label": ("bad", "good")[i % 2]} for i, text in enumerate(texts)]
    if task == "multi-label":
        return [{"text": text, "label": rng.sample(["food", "place", "price"], i % 3)} for i, text in enumerate(texts)]
    if task == "regression":
        return [{"text": text, "label": rng.uniform(1, 5)} for text in texts]
    if task == "token-classification":
        tags = ("O", "B-per", "I-per", "B-loc")
        return [{"tokens": text.split(), "ner_tags": [rng.choice(tags) for _ in text.split()]} for text in texts]
    if task == "question-answering":
        return [question(rng, number) for number in range(30)]
    if task == "embedding":
        return [{"anchor": text, "positive": sentence(rng, 6)} for text in texts]
    return [{"text": text} for text in texts]


def question(rng: random.Random, number: int) -> dict[str, Any]:
    """A context longer than one window, and an answer of two of its words."""
    words = sentence(rng, rng.randint(20, 120)).split()
    place = rng.randrange(len(words) - 1)
    start = len(" ".join([*words[:place], ""]))
    answers = {"text": [" ".join(words[place : place + 2])], "answer_start": [start]}
    return {"id": str(number), "question": "who was in paris ?", "context": " ".join(words), "answers": answers}


@pytest.fixture(scope="session")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``text_run(task)`` -> a finished run, made once."""
    made: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("texts")

    def make(task: str) -> Path:
        if task not in made:
            causal = task == "generation"
            model = folder / ("gpt" if causal else "bert")
            if not model.exists():
                write_model(model, causal=causal)
            lines = [json.dumps(one) for one in records(task, random.Random(task))]
            (folder / f"{task}.jsonl").write_text("\n".join(lines))
            run = folder / f"run-{task}"
            made[task] = finish_run(run, model, folder / f"{task}.jsonl", task, max_length=48)
        return made[task]

    return make


@pytest.fixture(scope="session")
def text_export(
    text_run: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, dict[str, Any]]]:
    """``text_export(task)`` -> (folder, model.json) of its plain export, made once."""
    made: dict[str, tuple[Path, dict[str, Any]]] = {}
    folder = tmp_path_factory.mktemp("exports")

    def make(task: str) -> tuple[Path, dict[str, Any]]:
        if task not in made:
            result = export(text_run(task), folder / task)
            made[task] = result.path, result.meta
        return made[task]

    return make


def some_inputs(task: str) -> list[Any]:
    rng = random.Random(1)
    if task == "question-answering":
        return [{key: question(rng, i)[key] for key in ("id", "question", "context")} for i in range(5)]
    plain = [sentence(rng, n) for n in (1, 30, 3, 12, 1, 44, 7, 2, 9, 60)] + ["Ann, in PARIS?", "naïve zürich €"]
    return [*plain, ("a warm film", "the food was good")] if task == "classification" else plain


def nearly(one: Any, other: Any) -> bool:
    """Equal but for the last digits of numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(nearly(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(nearly, one, other))
    return one == pytest.approx(other, abs=1e-4) if isinstance(one, float) else one == other


@pytest.mark.parametrize("task", TASKS)
def test_every_task_repeats_torch(task: str, text_run: Any, text_export: Any) -> None:
    folder, meta = text_export(task)
    assert meta["parity"]["agreement"] == 1.0
    assert meta["parity"]["max_logit_difference"] < 1e-4
    assert meta["parity"]["score_torch"] == pytest.approx(meta["parity"]["score_onnx"], abs=1e-6)
    options = {"max_new_tokens": 6, "max_bad": 1.0}
    by_torch, by_onnx = (predict(one, some_inputs(task), **options) for one in (text_run(task), folder))
    assert len(by_torch) == len(some_inputs(task))
    assert nearly(by_torch, by_onnx)


def test_bundle(text_export: Any) -> None:
    folder, meta = text_export("classification")
    names = {path.name for path in folder.iterdir()}
    assert names == {"MODEL_CARD.md", "model.json", "model.onnx", "tokenizer.json"}
    assert set(meta["sha256"]) == {"model.onnx", "tokenizer.json"}
    assert meta == json.loads((folder / "model.json").read_text())
    assert [one["name"] for one in meta["onnx_inputs"]] == ["input_ids", "attention_mask", "token_type_ids"]
    assert all(one["shape"] == ["batch", "sequence"] for one in meta["onnx_inputs"])
    assert meta["latency"]["tokens"] > 2
    card = (folder / "MODEL_CARD.md").read_text()
    for text in ("A text classifier", "tokenizer.json", "at most 48 tokens", "`attention_mask`", 'DIR "some text"'):
        assert text in card
    assert "camera" not in card
    assert "image" not in card
    assert "key-value cache" in (text_export("generation")[0] / "MODEL_CARD.md").read_text()


def test_any_batch_and_length(text_run: Any, text_export: Any) -> None:
    folder, _ = text_export("classification")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    network = TorchModel(text_run("classification"), device="cpu").module.export_module()
    rng = np.random.default_rng(0)
    for batch, length in ((1, 1), (1, 48), (3, 2), (5, 30)):
        lengths = rng.integers(1, length + 1, batch)
        mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
        feed = {"input_ids": rng.integers(0, 50, (batch, length)), "attention_mask": mask}
        feed["token_type_ids"] = np.zeros_like(mask)
        with torch.inference_mode():
            wanted = network(*map(torch.from_numpy, feed.values())).numpy()
        np.testing.assert_allclose(session.run(["logits"], feed)[0], wanted, atol=1e-4)


def test_answers_do_not_hang_on_neighbours_or_order(text_export: Any) -> None:
    model = OnnxModel(text_export("token-classification")[0])
    texts = [one for one in some_inputs("token-classification") if one.strip()]
    together = model.predict(texts)
    assert nearly(together, [model.predict([text])[0] for text in texts])
    assert nearly(together[::-1], model.predict(texts[::-1]))
    assert [len(row["label"]) for row in together] == [len(row["words"]) for row in together]


@pytest.mark.parametrize("task", ["classification", "token-classification"])
def test_int8_is_dynamic(task: str, text_run: Any, tmp_path: Path) -> None:
    result = export(text_run(task), tmp_path / "int8", precision="int8", min_agreement=0.5)
    assert "calibration" not in result.meta
    assert 0 < result.parity.max_logit_difference < 5
    model = OnnxModel(result.path)
    texts = some_inputs("regression")
    # Scales are those of a batch: a text must not change its answer with its neighbours.
    assert model.predict(texts) == [model.predict([text])[0] for text in texts]
    assert "one text at a time" in (result.path / "MODEL_CARD.md").read_text()
    assert any("int8 is" in note for note in result.meta["notes"])


def test_int8_nodes(text_export: Any, tmp_path: Path) -> None:
    source = text_export("classification")[0] / "model.onnx"
    to_int8_dynamic(source, tmp_path / "small.onnx")
    nodes = {node.op_type for node in onnx.load(str(tmp_path / "small.onnx")).graph.node}
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= nodes
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]


def test_fp16(text_run: Any, tmp_path: Path) -> None:
    assert export(text_run("regression"), tmp_path / "half", precision="fp16").parity.agreement >= 0.99


def test_no_tokenizer_in_the_graph(text_run: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="token ids on the host") as caught:
        export(text_run("classification"), tmp_path / "out", preprocess="graph")
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_damaged_tokenizer(text_export: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(text_export("classification")[0], tmp_path / "copy"))
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("good", "poor"))
    with pytest.raises(ZooError, match=r"tokenizer.json is damaged or not the exported file"):
        OnnxModel(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ZooError, match="is missing"):
        OnnxModel(folder)


def test_greedy_decoding_token_for_token(text_run: Any, text_export: Any) -> None:
    """Against transformers' own greedy search."""
    folder, meta = text_export("generation")
    model, run = OnnxModel(folder), TorchModel(text_run("generation"), device="cpu")
    assert [one["name"] for one in meta["onnx_outputs"]] == ["logits"]
    network = run.module.backbone.module
    for text in ("the film was", "ann", "where in paris is the food"):
        ids = [int(one) for one in model.tokens.encode(text)[:, 0]]
        wanted = network.generate(
            torch.tensor([ids]), max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=5, use_cache=True
        )[0, len(ids) :].tolist()
        wanted = wanted[: wanted.index(5)] if 5 in wanted else wanted
        assert greedy(model.next_logits, [ids], 5, 12) == [wanted]
    both = ["the film was", "where in paris is the food"]
    assert model.generate(both, 8) == [row["label"] for row in predict(text_run("generation"), both, max_new_tokens=8)]
    with pytest.raises(DataError):
        model.generate([" "], 4)
    with pytest.raises(UsageError, match="next token alone"):
        model.run([np.zeros((3, 3), np.int32)])


def test_no_torch_no_transformers_no_plugin(text_export: Any) -> None:
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'zoo_text', 'pandas', 'datasets'):\n"
        "            raise ModuleNotFoundError(f'{name} is hidden', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from zoo.cli.main import run\n"
        "sys.exit(max(run(one) for one in eval(sys.argv[1])))"
    )
    calls = [["predict", str(text_export(task)[0]), "ann was in paris", "a film", "--json"] for task in TASKS]
    calls[TASKS.index("question-answering")] += ["--pair", "ann was in paris . bob was in rome"]
    done = subprocess.run(
        [sys.executable, "-c", code, repr(calls)], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"input": "ann was in paris"') == len(TASKS)


def test_evaluate_an_export(text_run: Any, text_export: Any) -> None:
    for task in ("token-classification", "question-answering", "embedding"):
        run = text_run(task)
        data = run.parent / f"{task}.jsonl"
        one, other = evaluate(run, data), evaluate(text_export(task)[0], data)
        assert nearly(one["metrics"], other["metrics"])


def test_tokenizer_of_the_bundle_is_the_run_s(text_run: Any, text_export: Any) -> None:
    folder, meta = text_export("classification")
    tokens = from_description(meta["preprocessing"], folder)
    run = TorchModel(text_run("classification"), device="cpu")
    for text in some_inputs("classification"):
        np.testing.assert_array_equal(tokens.encode(text), run.decode(text))


# The command line.


def invoke(*arguments: object, given: str | None = None) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of the command line in this process."""
    result = CliRunner().invoke(main, [str(one) for one in arguments], input=given)
    code = getattr(result.exception, "exit_code", result.exit_code)
    return code, result.stdout, result.stderr + str(result.exception or "")


def test_texts_files_tables_and_stdin(text_export: Any, tmp_path: Path) -> None:
    folder, _ = text_export("classification")
    (tmp_path / "lines.txt").write_text("a warm film\n\nthe food was bad\n")
    (tmp_path / "table.csv").write_text("number,text\n1,a dull place\n")
    (tmp_path / "other.tsv").write_text("note\tsaid\nx y z w\tann was in rome\n")
    arguments = ("predict", folder, "Is it good?", tmp_path / "lines.txt", tmp_path / "table.csv", "-", "--json")
    code, out, err = invoke(*arguments, given="one more\nand more\n")
    assert code == 0, err
    wanted = ["Is it good?", "a warm film", "the food was bad", "a dull place", "one more", "and more"]
    assert [row["input"] for row in json.loads(out)] == wanted
    code, out, err = invoke("predict", folder, tmp_path / "other.tsv", "--input-column", "said", "--json")
    assert [row["input"] for row in json.loads(out)] == ["ann was in rome"], err
    code, out, _ = invoke("predict", folder, "a film", "--pair", "the food", "--json")
    assert json.loads(out)[0]["input"] == ["a film", "the food"]


def test_bad_texts(text_export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = text_export("classification")
    monkeypatch.chdir(tmp_path)
    for name in ("gone.txt", "my reviews.csv"):
        code, out, err = invoke("predict", folder, name)
        assert (code, out) == (6, "")
        assert f"{name} does not exist" in err
    (tmp_path / "photo.png").write_bytes(b"x")
    code, _, err = invoke("predict", folder, "photo.png")
    assert code == 6
    assert "no file of texts" in err
    (tmp_path / "film").mkdir()
    assert invoke("predict", folder, "film")[0] == 0  # a word, though a folder is called so
    code, out, err = invoke("predict", folder, "a film", " ", "--format", "jsonl")
    assert code == 6
    assert len(out.splitlines()) == 1
    assert "It holds no text" in err
    code, _, err = invoke("predict", folder, "a film", "", "--max-bad", "0.5")
    assert code == 0
    assert "skipped 1 of 2" in err
    code, _, err = invoke("predict", folder, "the food was bad " * 40)
    assert code == 0
    assert "1 of 1 texts are longer than 48 tokens and were cut there" in err
    code, _, err = invoke("predict", text_export("question-answering")[0], "who?")
    assert code == 2
    assert "context" in err


def test_readable_tables(text_export: Any) -> None:
    text = "a film\nof " + "many words " * 30
    code, out, err = invoke("predict", text_export("classification")[0], text)
    assert code == 0, err
    assert len(out.splitlines()) == 2
    assert max(map(len, out.splitlines())) < 90
    code, out, _ = invoke("predict", text_export("token-classification")[0], "ann was in paris")
    assert code == 0
    assert len(out.splitlines()) == 2
    code, out, _ = invoke("predict", text_export("question-answering")[0], "who?", "--pair", "ann was in paris")
    assert code == 0
    code, out, _ = invoke("predict", text_export("embedding")[0], "ann was in paris")
    assert code == 0
    assert "(32)" in out
    code, out, _ = invoke("predict", text_export("generation")[0], "the film", "--max-new-tokens", "3")
    assert code == 0
    for style in ("csv", "jsonl"):
        for task in TASKS:
            pair = ("--pair", "ann was in paris") if task == "question-answering" else ()
            assert invoke("predict", text_export(task)[0], "ann", "--format", style, *pair)[0] == 0, (task, style)


def test_column_options_are_for_texts(exported: Any, photos: Path) -> None:
    code, _, err = invoke("predict", exported.path, photos / "val", "--pair", "x")
    assert code == 2
    assert "image" in err


def test_export_verb(text_run: Any, tmp_path: Path) -> None:
    code, out, err = invoke("export", text_run("classification"), "-o", tmp_path / "made")
    assert code == 0, err
    assert "tokens" in out
    assert bundle.LATENCY_SECONDS < 1
