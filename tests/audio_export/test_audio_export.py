"""Exports of sound models end to end: parity, the bundle's files, and prediction without torch."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from sound_runs import FILE_RATE, LABELS, RATE, SECONDS, finish_run, invoke, nearly, tone, write_table

from zoo.exporting import ExportResult, bundle, export
from zoo.exporting.precision import mostly_convolutions, to_fp16
from zoo.exporting.trace import front, tail
from zoo.measure import evaluate
from zoo.predicting import find_inputs, predict
from zoo.serve_model import OnnxModel
from zoo.sounds import open_sound
from zoo.torch_model import TorchModel
from zoo.windowing import windows_of
from zoo_audio.frontend import LogMel
from zoo_registry.errors import DataError, MissingDependency, UsageError, ZooError


def clips(folder: Path, count: int = 7) -> list[Path]:
    """Files of very different lengths, the longest many windows long."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        seconds = (0.03, 0.4, 2.5, 0.6, 0.61, 0.2, 7.0)[i % 7]
        soundfile.write(folder / f"clip{i}.wav", tone(LABELS[i % 3], i + 50, seconds), FILE_RATE)
    return [folder / f"clip{i}.wav" for i in range(count)]


def test_the_export_repeats_torch(sound_run: Callable[..., Path], sound_export: ExportResult, tmp_path: Path) -> None:
    parity = sound_export.parity
    assert parity.samples == 27
    assert parity.agreement == 1.0
    assert parity.max_logit_difference < 1e-4
    assert parity.score_torch == parity.score_onnx
    assert 0.7 < parity.score_torch < 1  # a task that says something
    given = clips(tmp_path / "clips")
    by_torch, by_onnx = (predict(one, given) for one in (sound_run(), sound_export.path))
    assert len(by_torch) == len(given)
    assert nearly(by_torch, by_onnx)


def test_bundle(sound_export: ExportResult) -> None:
    folder, meta = sound_export.path, sound_export.meta
    assert {path.name for path in folder.iterdir()} == {"MODEL_CARD.md", "model.json", "model.onnx"}
    assert meta == json.loads((folder / "model.json").read_text())
    described = {one["name"]: (one["type"], one["shape"]) for one in [*meta["onnx_inputs"], *meta["onnx_outputs"]]}
    assert described == {
        "waveform": ("float32", ["batch", "time"]),
        "length": ("int64", ["batch"]),
        "logits": ("float32", ["batch", 3]),
        "scores": ("float32", ["batch", 3]),
    }
    assert meta["preprocessing"]["rate"] == RATE
    assert 0 < meta["latency"]["seconds"] <= SECONDS
    card = (folder / "MODEL_CARD.md").read_text()
    for text in ("A sound classifier", f"at {RATE} samples a second", "`length`", "DIR clip.wav", "longer than 0.6 s"):
        assert text in card
    for text in ("camera", "image", "token"):
        assert text not in card


def test_any_batch_and_length(sound_run: Callable[..., Path], sound_export: ExportResult) -> None:
    session = onnxruntime.InferenceSession(str(sound_export.path / "model.onnx"))
    network = TorchModel(sound_run(), device="cpu").module.export_module()
    rng = np.random.default_rng(0)
    for batch, time in ((1, 1), (1, 700), (3, 90), (5, 3001)):
        length = rng.integers(1, time + 1, batch)
        waveform = rng.uniform(-1, 1, (batch, time)) * (np.arange(time) < length[:, None])
        feed = {"waveform": waveform.astype(np.float32), "length": length}
        with torch.inference_mode():
            wanted = network(*map(torch.from_numpy, feed.values())).numpy()
        found = session.run(["logits"], feed)[0]
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        alone = [
            session.run(["logits"], {"waveform": w[None, :n], "length": n[None]})[0][0]
            for w, n in zip(feed["waveform"], length, strict=True)
        ]
        np.testing.assert_allclose(found, alone, atol=1e-4)


@pytest.mark.parametrize("side", ["run", "export"])
def test_long_clips_are_averaged_over_windows(
    side: str, sound_run: Callable[..., Path], sound_export: ExportResult, tmp_path: Path
) -> None:
    """Against the plainest reading of the rule: each window alone, then the mean of their logits."""
    model = OnnxModel(sound_export.path) if side == "export" else TorchModel(sound_run(), device="cpu")
    arrays = [model.decode(path) for path in clips(tmp_path / "clips")]
    logits, scores = model.run(arrays)
    for array, one, answer in zip(arrays, logits, scores, strict=True):
        windows = windows_of(array, round(SECONDS * RATE))
        wanted = np.mean([model.run([window])[0][0] for window in windows], axis=0)
        np.testing.assert_allclose(one, wanted, atol=1e-4)
        odds = np.exp(wanted - wanted.max())
        np.testing.assert_allclose(answer, odds / odds.sum(), atol=1e-4)


def test_answers_do_not_hang_on_neighbours_or_order(sound_export: ExportResult, tmp_path: Path) -> None:
    model, given = OnnxModel(sound_export.path), clips(tmp_path / "clips")
    together = model.predict(given)
    assert nearly(together, [model.predict([one])[0] for one in given])
    assert nearly(together[::-1], model.predict(given[::-1]))


def test_memory_of_a_batch_is_bounded(sound_export: ExportResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long recording among short ones is not padded to; no batch is larger than a minute of sound."""
    model, sizes = OnnxModel(sound_export.path), []
    call = model.session.run
    monkeypatch.setattr(
        model,
        "session",
        types.SimpleNamespace(run=lambda names, feed: sizes.append(feed["waveform"].size) or call(names, feed)),
    )
    rng = np.random.default_rng(0)
    long = rng.integers(-9000, 9000, 300 * RATE).astype(np.int16)
    model.run([long, *(long[: 100 * i] for i in range(1, 20))])
    assert sum(sizes) < len(long) * 1.3
    assert max(sizes) <= 60 * RATE


def test_every_kind_of_item(sound_export: ExportResult, tmp_path: Path) -> None:
    path = clips(tmp_path / "clips", 2)[1]
    samples, rate = soundfile.read(path)
    whole = {"array": samples.astype(np.float32), "sampling_rate": rate}
    given = [path, str(path), path.read_bytes(), whole, {"path": str(path), "start": 0.1, "end": 0.3}]
    rows = predict(sound_export.path, given)
    assert [row["input"] for row in rows] == [*[str(path)] * 2, "input 2", "input 3", f"{path} from 0.1 s to 0.3 s"]
    assert nearly([row["scores"] for row in rows[:4]], [rows[0]["scores"]] * 4)
    part = {"array": samples[round(0.1 * rate) : round(0.3 * rate)], "sampling_rate": rate}
    assert nearly(rows[4]["scores"], predict(sound_export.path, [part])[0]["scores"])
    assert not nearly(rows[4]["scores"], rows[0]["scores"])


def test_folders_and_globs(sound_export: ExportResult, tmp_path: Path) -> None:
    clips(tmp_path / "a", 2)
    sound = tone("low", 1, 0.5)
    soundfile.write(tmp_path / "a" / "clip10.flac", sound, FILE_RATE)
    soundfile.write(tmp_path / "a" / "clip9.OGG", sound, FILE_RATE, format="OGG")
    (tmp_path / "a" / "photo.jpg").write_bytes(b"x")
    (tmp_path / "a" / ".hidden.wav").write_bytes(b"x")
    names = ["clip0.wav", "clip1.wav", "clip9.OGG", "clip10.flac"]
    assert [path.name for path in find_inputs([tmp_path], "audio")] == names
    assert len(predict(sound_export.path, [tmp_path / "a", str(tmp_path / "a" / "*.wav")])) == 6
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="holds no sounds"):
        predict(sound_export.path, [tmp_path / "b"])
    with pytest.raises(DataError, match="does not exist"):
        predict(sound_export.path, [tmp_path / "*.mp3"])
    with pytest.raises(UsageError, match="audio files"):
        predict(sound_export.path, [tmp_path / "a"], pair="x")


def test_the_same_samples_as_training(
    sound_run: Callable[..., Path], sound_export: ExportResult, tmp_path: Path
) -> None:
    model, run = OnnxModel(sound_export.path), TorchModel(sound_run(), device="cpu")
    for path in clips(tmp_path / "clips"):
        np.testing.assert_array_equal(model.decode(path), run.decode(path))
        np.testing.assert_array_equal(model.decode(path), open_sound(path, RATE))
    array = run.decode(path)
    batch = run.pipeline.prepare(run.batch([array[:500], array]))
    for name, tensor in model.sounds.feed([array[:500], array]).items():  # type: ignore[union-attr]
        np.testing.assert_array_equal(tensor, batch[name].numpy())


def test_no_torch_no_plugin(sound_export: ExportResult, tmp_path: Path) -> None:
    given = clips(tmp_path / "clips")
    code = (
        "import sys\n"
        "hidden = ('torch', 'torchaudio', 'zoo_audio', 'zoo_vision', 'timm', 'transformers', 'pandas', 'datasets')\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in hidden:\n"
        "            raise ModuleNotFoundError(f'{name} is hidden', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from zoo.cli.main import run\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    arguments = ["predict", str(sound_export.path), str(tmp_path / "clips"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr
    assert nearly(json.loads(done.stdout), predict(sound_export.path, given))
    assert "3 of 7 recordings are longer than 0.6 s: they were heard in windows, whose" in done.stderr


def test_without_soundfile(
    sound_export: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = clips(tmp_path / "clips", 1)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingDependency, match="soundfile") as caught:
        predict(sound_export.path, given)
    assert "pip install" in caught.value.remedy
    assert caught.value.exit_code == 5
    # Waveforms need no files to be read.
    assert predict(sound_export.path, [{"array": np.ones(900) / 3, "sampling_rate": RATE}])[0]["label"] in LABELS


def test_bad_sounds_are_counted(sound_export: ExportResult, tmp_path: Path) -> None:
    good = clips(tmp_path / "clips", 6)
    (tmp_path / "text.wav").write_text("not a sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    nothing = io.BytesIO()
    soundfile.write(nothing, np.zeros(0), FILE_RATE, format="WAV")
    given = [*good, tmp_path / "text.wav", tmp_path / "empty.wav", nothing.getvalue()]
    with pytest.raises(DataError, match="3 of 9"):
        predict(sound_export.path, given)
    assert len(predict(sound_export.path, given, max_bad=0.5)) == 6
    code, out, err = invoke("predict", sound_export.path, *given[:8], "--max-bad", "0.5", "--format", "csv")
    assert code == 0
    assert len(out.splitlines()) == 7
    assert "skipped 2 of 8" in err
    assert "text.wav" in err


def test_evaluate(sound_run: Callable[..., Path], sound_export: ExportResult, tones: Path) -> None:
    one, other = evaluate(sound_run()), evaluate(sound_export.path, tones, split="val")
    assert one["n"] == other["n"] == 27
    assert nearly(one["metrics"], other["metrics"])
    assert one["metrics"]["accuracy"] == sound_export.parity.score_torch
    code, out, err = invoke("evaluate", sound_export.path, "--data", tones, "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"] == other["metrics"]


# Other precisions.


def test_fp16(sound_run: Callable[..., Path], tmp_path: Path) -> None:
    result = export(sound_run(), tmp_path / "half", precision="fp16")
    assert result.parity.agreement >= 0.99
    nodes = onnx.load(str(tmp_path / "half" / "model.onnx")).graph
    kernels = [one for one in nodes.initializer if list(one.dims) == [16, 1, 64]]
    assert [one.data_type for one in kernels] == [onnx.TensorProto.FLOAT]  # spectra keep their range


class Pooled(torch.nn.Module):
    """Normalised spectra, and the mean over frames of a layer's squares, which add up to more than the largest
    float16."""

    def __init__(self) -> None:
        super().__init__()
        self.front = LogMel(16_000, mels=64)
        self.first, self.last = torch.nn.Linear(64, 8), torch.nn.Linear(8, 2)

    def forward(self, waveform: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        logs, counts = self.front(waveform, length)
        loud = (40 * self.first(logs)).square().sum(dim=1)
        return self.last(loud / counts[:, None] / 1000)


def test_fp16_of_long_sounds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    clip = np.cumsum(rng.normal(0, 0.002, 8 * 16_000)) * np.linspace(0.001, 1, 8 * 16_000)
    feed = {"waveform": clip[None].astype(np.float32), "length": np.array([len(clip)])}
    program = torch.onnx.export(
        Pooled().eval(),
        tuple(map(torch.from_numpy, feed.values())),
        dynamo=True,
        input_names=list(feed),
        opset_version=20,
        verbose=False,
    )
    program.save(str(tmp_path / "full.onnx"))
    to_fp16(tmp_path / "full.onnx", tmp_path / "half.onnx")
    full, half = (
        onnxruntime.InferenceSession(str(tmp_path / f"{name}.onnx")).run(None, feed)[0] for name in ("full", "half")
    )
    np.testing.assert_allclose(half, full, rtol=0.02)
    # A processor sums in float32 whatever the graph says; others do not.
    model = onnx.shape_inference.infer_shapes(onnx.load(str(tmp_path / "half.onnx")))
    kinds = {one.name: one.type.tensor_type.elem_type for one in model.graph.value_info}
    sums = [kinds[node.output[0]] for node in model.graph.node if node.op_type == "ReduceSum"]
    assert len(sums) == 4
    assert set(sums) == {onnx.TensorProto.FLOAT}


def test_int8_of_convolutions_is_calibrated(sound_run: Callable[..., Path], tmp_path: Path) -> None:
    result = export(sound_run(), tmp_path / "int8", precision="int8", min_agreement=0.8)
    assert result.meta["calibration"]["split"] == "train"
    assert result.parity.max_logit_difference > 0
    graph = onnx.load(str(result.path / "model.onnx")).graph
    integer = {one.name: list(one.dims) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8}
    assert [24, 16, 5] in integer.values()
    assert [16, 1, 64] not in integer.values()
    assert "one clip at a time" not in (result.path / "MODEL_CARD.md").read_text()


def test_int8_of_matrices_is_dynamic(sound_run: Callable[..., Path], tmp_path: Path) -> None:
    result = export(sound_run("toys/wide_listener"), tmp_path / "int8", precision="int8", min_agreement=0.8)
    assert "calibration" not in result.meta
    nodes = {node.op_type for node in onnx.load(str(result.path / "model.onnx")).graph.node}
    assert {"DynamicQuantizeLinear", "MatMulInteger", "Conv"} <= nodes
    assert "ConvInteger" not in nodes
    model, given = OnnxModel(result.path), clips(tmp_path / "clips")
    # Scales are those of a batch: a clip must not change its answer with its neighbours.
    assert model.predict(given) == [model.predict([one])[0] for one in given]
    assert "one clip at a time" in (result.path / "MODEL_CARD.md").read_text()


def test_what_keeps_float32(sound_export: ExportResult) -> None:
    model = onnx.load(str(sound_export.path / "model.onnx"))
    assert mostly_convolutions(sound_export.path / "model.onnx")
    kinds = {node.name: node.op_type for node in model.graph.node}
    before, after = [kinds[name] for name in front(model)], [kinds[name] for name in tail(model)]
    assert before.count("Conv") == before.count("Log") == 1
    assert "Softmax" in after
    assert list(kinds.values()).count("Conv") == 2


def test_limits(sound_run: Callable[..., Path], sound_export: ExportResult, tmp_path: Path, monkeypatch: Any) -> None:
    """1e-2 is accepted of sounds, and no more."""
    compare = bundle.compare
    for difference, fits in ((0.009, True), (0.011, False)):
        changed = lambda *given, d=difference: bundle.dataclasses.replace(compare(*given), max_logit_difference=d)  # noqa: E731
        monkeypatch.setattr(bundle, "compare", changed)
        if fits:
            export(sound_run(), tmp_path / "made")
        else:
            with pytest.raises(ZooError, match=r"differs by 0.011, more than 0.01"):
                export(sound_run(), tmp_path / "refused")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_the_graph_starts_at_the_waveform_already(sound_run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="starts at the waveform already") as caught:
        export(sound_run(), tmp_path / "out", preprocess="graph")
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_vision_network_on_spectrograms(sound_run: Callable[..., Path], tmp_path: Path) -> None:
    """The first-party model, whose spectra are in the graph, as its ordinary rate asks for."""
    run = sound_run("spectrogram/test_resnet")
    result = export(run, tmp_path / "made")
    assert result.parity.agreement == 1.0
    assert result.parity.max_logit_difference < 1e-3
    assert result.meta["input"]["rate"] == 16_000
    given = clips(tmp_path / "clips")
    assert nearly(predict(run, given), predict(result.path, given))
    assert mostly_convolutions(result.path / "model.onnx")
    model = onnx.load(str(result.path / "model.onnx"))
    kinds = {node.name: node.op_type for node in model.graph.node}
    before = [kinds[name] for name in front(model)]
    assert before.count("Conv") == before.count("Log") == 1
    assert {"ReduceSum", "Where"} <= set(before)  # the spectra are normalised there, too


# The other tasks that answer once a clip.


def test_several_labels_and_numbers(tmp_path: Path) -> None:
    paths = [str(path) for path in clips(tmp_path / "clips", 28)]
    rng = np.random.default_rng(0)
    many = [
        {"path": path, "label": rng.choice(["a", "b", "c"], i % 3, replace=False).tolist()}
        for i, path in enumerate(paths)
    ]
    numbers = [{"path": path, "label": float(rng.normal(5, 2))} for path in paths]
    for task, rows, head in (("multi-label", many, "core/multi-label"), ("regression", numbers, "core/regression")):
        run = finish_run(tmp_path / task, write_table(tmp_path / f"{task}.jsonl", rows), head, task=task)
        result = export(run, tmp_path / f"export-{task}")
        assert result.parity.agreement == 1.0
        assert nearly(predict(run, paths), predict(result.path, paths))
        one, other = evaluate(run), evaluate(result.path, tmp_path / f"{task}.jsonl", split="val")
        assert nearly(one["metrics"], other["metrics"])


# The command line.


def test_export_verb(sound_run: Callable[..., Path], tmp_path: Path) -> None:
    code, out, err = invoke("export", sound_run(), "-o", tmp_path / "made")
    assert code == 0, err
    assert "s of sound" in out
    code, out, err = invoke("predict", tmp_path / "made", clips(tmp_path / "clips")[0])
    assert code == 0, err
    assert len(out.splitlines()) == 2
    code, _, err = invoke("predict", tmp_path / "made", tmp_path / "clips", "--beam", 4)
    assert code == 2
    assert "no beam search" in err
