"""The preprocessing graph against PIL, on sizes that make rounding rules differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from zoo.exporting.preprocess import prepend_preprocessing, preprocess_graph
from zoo.images import describe_input, load_image
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def spec_of(**changes: object) -> InputSpec:
    fields = {"modality": "image", "size": (3, 64, 64), "mean": MEAN, "std": STD, "crop_pct": 0.875} | changes
    return InputSpec(**fields)  # type: ignore[arg-type]


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with edges and grain, as photos have."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    smooth[height // 3 : height // 2] += 60
    return np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)


def run_graph(spec: InputSpec, pixels: np.ndarray) -> np.ndarray:
    graph = preprocess_graph(spec, opset=20, ir_version=10)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": pixels})[0]


SIZES = [(64, 64), (73, 73), (101, 67), (67, 101), (333, 500), (75, 74), (31, 200), (400, 37), (64, 65), (20, 20)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_matches_the_pipeline(size: tuple[int, int], interpolation: str) -> None:
    spec = spec_of(interpolation=interpolation)
    pixels = photo(*size)
    expected = load_image(pixels, describe_input(spec))
    got = run_graph(spec, pixels[None])[0]
    assert got.shape == expected.shape
    levels = np.abs(got - expected) * np.array(STD, np.float32)[:, None, None] * 255
    # A window shifted by one pixel would differ in most pixels; rounding differs in a few, by a few levels.
    assert levels.max() < 6
    assert (levels > 0.5).mean() < 0.05


@pytest.mark.parametrize("pct", [1.0, 0.95, 0.9, 0.8])
def test_crop_share_and_squash(pct: float) -> None:
    for mode in ("center", "squash"):
        spec = spec_of(crop_pct=pct, crop_mode=mode)
        pixels = photo(90, 123, seed=3)
        levels = np.abs(run_graph(spec, pixels[None])[0] - load_image(pixels, describe_input(spec))) * 0.229 * 255
        assert levels.max() < 6


def test_batch_of_one_size() -> None:
    spec = spec_of()
    batch = np.stack([photo(80, 90, seed) for seed in range(3)])
    together = run_graph(spec, batch)
    for one, row in zip(batch, together, strict=True):
        np.testing.assert_array_equal(run_graph(spec, one[None])[0], row)


def test_merges_in_front_of_a_network() -> None:
    spec = spec_of()
    core = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
        net (float[batch, 3, 64, 64] image) => (float[batch, 3] logits) {
            axes = Constant <value_ints = [2, 3]> ()
            mean = ReduceMean <keepdims = 0> (image, axes)
            logits = Identity (mean)
        }"""
    )
    merged = prepend_preprocessing(core, spec)
    onnx.checker.check_model(merged)
    session = onnxruntime.InferenceSession(merged.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = photo(70, 99)
    got = session.run(["logits"], {"pixels": pixels[None]})[0]
    np.testing.assert_allclose(got[0], load_image(pixels, describe_input(spec)).mean((1, 2)), atol=2e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": (1, 64, 64), "mean": (0.5,), "std": (0.5,)},
        {"size": (3, 64, 96)},
        {"crop_mode": "border"},
        {"crop_pct": 1.1},
        {"interpolation": "nearest"},
        {"interpolation": "lanczos"},
    ],
    ids=str,
)
def test_refuses_what_it_cannot_repeat(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cannot go into the graph"):
        preprocess_graph(spec_of(**changes), opset=20, ir_version=10)


@pytest.mark.data
def test_matches_on_photos(data_path: Path) -> None:
    spec = spec_of(size=(3, 224, 224))
    files = sorted((data_path / "cats_dogs" / "val" / "cat").iterdir())[:12]
    for path in files:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        got = run_graph(spec, pixels[None])[0]
        levels = np.abs(got - load_image(pixels, describe_input(spec))) * np.array(STD)[:, None, None] * 255
        assert (levels > 0.5).mean() < 0.01
        assert levels.max() < 8
