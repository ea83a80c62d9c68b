"""The image pipeline against timm's evaluation transform, against its torch-free twin, and on bad files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform

from zoo import images
from zoo_registry.errors import DataError, PluginError
from zoo_registry.specs import InputSpec
from zoo_vision.pipeline import ImagePipeline, image_pipeline

SPEC = InputSpec(
    modality="image",
    size=(3, 64, 64),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    interpolation="bicubic",
    crop_pct=0.875,
)


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth colours plus noise: resampling errors show in both."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((width, height))
    noisy = np.asarray(coarse).astype(int) + rng.integers(-40, 41, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def through(pipeline: ImagePipeline, *items: Any) -> torch.Tensor:
    canvas = torch.from_numpy(np.stack([pipeline.decode(item) for item in items]))
    return pipeline.prepare({"image": canvas, "index": torch.arange(len(items))})["image"]


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
def test_prepare_of_decode_is_timms_evaluation_transform(mode: str, interpolation: str) -> None:
    shapes = [(64, 64), (73, 73), (91, 60), (60, 91), (200, 133), (133, 200), (30, 41), (301, 75), (75, 301), (1, 9)]
    contracts = [((3, 64, 64), 0.875), ((3, 65, 65), 0.9), ((3, 64, 64), 1.0), ((3, 64, 64), 0.95)]
    contracts += [((3, 64, 64), 1.15), ((3, 48, 64), 0.9), ((3, 64, 64), 0.965)]
    for size, crop_pct in contracts:
        spec = replace(SPEC, size=size, crop_pct=crop_pct, crop_mode=mode, interpolation=interpolation)
        pipeline = image_pipeline(spec)
        reference = create_transform(
            size, crop_pct=crop_pct, crop_mode=mode, interpolation=interpolation, mean=spec.mean, std=spec.std
        )
        for shape in shapes:
            image = photo(*shape)
            ours = through(pipeline, encoded(image))[0]
            assert ours.shape == size
            assert torch.equal(ours, reference(image)), (size, crop_pct, shape)


def test_grey_input_is_timms_too() -> None:
    spec = replace(SPEC, size=(1, 64, 64), mean=(0.5,), std=(0.25,))
    reference = create_transform((1, 64, 64), crop_pct=0.875, interpolation="bicubic", mean=(0.5,), std=(0.25,))
    image = photo(80, 101)
    assert torch.equal(through(image_pipeline(spec), encoded(image))[0], reference(image.convert("L")))


@pytest.mark.data
def test_real_photos_match_timm(data_path: Path) -> None:
    spec = replace(SPEC, size=(3, 96, 96))
    reference = create_transform((3, 96, 96), crop_pct=0.875, interpolation="bicubic", mean=SPEC.mean, std=SPEC.std)
    paths = sorted((data_path / "cats_dogs" / "val").rglob("*.jpg"))[:8]
    assert paths
    ours = through(image_pipeline(spec), *paths)
    for row, path in zip(ours, paths, strict=True):
        assert torch.equal(row, reference(Image.open(path).convert("RGB")))


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        replace(SPEC, crop_pct=0.95, size=(3, 49, 49)),
        replace(SPEC, crop_mode="border", crop_pct=0.9),
        replace(SPEC, size=(1, 33, 33), mean=(0.45,), std=(0.3,)),
    ],
)
def test_serving_repeats_the_pipeline_bit_for_bit(spec: InputSpec, tmp_path: Path) -> None:
    pipeline = image_pipeline(spec)
    described = json.loads(json.dumps(pipeline.describe()))
    path = tmp_path / "odd.jpg"
    photo(77, 130).save(path)
    # Every byte value in every channel, so that the arithmetic is compared everywhere.
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3))
    for item in (path, str(path), path.read_bytes(), encoded(ramp), encoded(ramp.resize((90, 256), 0))):
        served = images.load_image(item, described)
        assert served.dtype == np.float32
        assert served.flags.c_contiguous
        assert np.array_equal(served, through(pipeline, item)[0].numpy())


def test_serving_imports_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    photo(40, 50).save(path)
    code = (
        "import json, sys; from zoo import images; from pathlib import Path\n"
        "images.load_image(sys.argv[1], json.loads(sys.argv[2])); images.load_raw(sys.argv[1])\n"
        "print(sorted({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    described = json.dumps(image_pipeline(SPEC).describe())
    out = subprocess.run([sys.executable, "-c", code, str(path), described], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_raw_pixels_are_upright_and_full_size() -> None:
    image = photo(30, 50)
    assert np.array_equal(images.load_raw(encoded(image)), np.asarray(image))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = images.load_raw(encoded(image, exif=exif))
    assert turned.shape == (50, 30, 3)
    assert turned.flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    upright = photo(40, 56)
    stored = {  # how the camera's sensor was turned: the inverse of what a viewer does
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(images.load_raw(encoded(stored, exif=exif)), np.asarray(upright))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_ignored() -> None:
    image = photo(20, 20)
    assert np.array_equal(
        images.load_raw(encoded(image, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")), np.asarray(image)
    )


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:4] = (200, 100, 50, 255)
    rgba[4:6, :, 3] = 0
    rgba[6:] = (0, 0, 0, 128)
    out = images.load_raw(encoded(Image.fromarray(rgba)))
    assert out[0, 0].tolist() == [200, 100, 50]
    assert out[4, 0].tolist() == [255, 255, 255]
    assert np.abs(out[7, 0].astype(int) - 127).max() <= 1

    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    palette.paste(1, (0, 0, 4, 8))
    out = images.load_raw(encoded(palette, transparency=0))
    assert out[0, 0].tolist() == [200, 0, 0]
    assert out[0, 7].tolist() == [255, 255, 255]


def test_colour_modes_become_rgb() -> None:
    grey = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    assert np.array_equal(images.load_raw(encoded(Image.fromarray(grey))), np.repeat(grey[..., None], 3, 2))
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(images.load_raw(encoded(wide))[..., 0], grey)
    assert np.array_equal(images.load_raw(encoded(wide, "TIFF"))[..., 0], grey)
    floats = Image.fromarray((grey / 255).astype(np.float32))
    assert np.array_equal(images.load_raw(encoded(floats, "TIFF"))[..., 0], grey)
    one_bit = images.load_raw(encoded(Image.fromarray(grey).convert("1", dither=Image.Dither.NONE)))
    assert np.array_equal(one_bit[..., 0], np.where(grey > 127, 255, 0))
    image = photo(32, 32)
    cmyk = images.load_raw(encoded(image.convert("CMYK"), "JPEG", quality=95)).astype(int)
    assert np.abs(cmyk - np.asarray(image)).mean() < 20
    quantised = images.load_raw(encoded(image.quantize(32)))
    assert np.array_equal(quantised, np.asarray(image.quantize(32).convert("RGB")))


def test_items_in_every_form_agree(tmp_path: Path) -> None:
    image = photo(70, 90)
    path = tmp_path / "a.png"
    image.save(path)
    data = path.read_bytes()
    forms = [str(path), data, {"bytes": data, "path": "gone.png"}, {"bytes": None, "path": str(path)}, image]
    pipeline = image_pipeline(SPEC)
    for item in [*forms, np.asarray(image)]:
        assert np.array_equal(pipeline.decode(item), pipeline.decode(path))


def bad_files(folder: Path) -> dict[str, str]:
    """File name -> a word the message must hold."""
    jpeg, png = encoded(photo(90, 90), "JPEG"), encoded(photo(90, 90))
    contents = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"not an image at all\n" * 9, "not an image"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "damaged"),
        "header.jpg": (jpeg[:20], "image"),
        "truncated.png": (png[: len(png) // 2], "damaged"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        "page.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpg").mkdir()
    return {name: word for name, (_, word) in contents.items()} | {"folder.jpg": "folder", "gone.jpg": "exist"}


def test_bad_files_are_data_errors_that_name_the_path(tmp_path: Path) -> None:
    pipeline = image_pipeline(SPEC)
    for name, word in bad_files(tmp_path).items():
        with pytest.raises(DataError) as caught:
            pipeline.decode(tmp_path / name)
        assert str(tmp_path / name) in caught.value.problem
        assert word in caught.value.problem
        assert caught.value.remedy
        assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "item", [b"", 7, None, {"bytes": None, "path": None}, {}, np.zeros((4, 4, 9), np.uint8), "a\0b"]
)
def test_items_that_are_no_images(item: Any) -> None:
    with pytest.raises(DataError):
        image_pipeline(SPEC).decode(item)


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG file whose header announces any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    rows = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(60_000, 60_000), (13_000, 10_000)])
def test_decompression_bombs_are_refused(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(*size))
    with pytest.raises(DataError, match=r"bomb\.png"):
        image_pipeline(SPEC).decode(path)


def test_an_elongated_image_is_refused_before_it_is_blown_up(tmp_path: Path) -> None:
    path = tmp_path / "thread.png"
    Image.new("RGB", (200_000, 1)).save(path)
    with pytest.raises(DataError, match=r"thread\.png is too elongated"):
        image_pipeline(replace(SPEC, size=(3, 224, 224))).decode(path)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 10_000), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]))
def test_damaged_bytes_decode_or_raise_a_data_error(junk: bytes, where: int, kind: str) -> None:
    data = bytearray(encoded(photo(24, 24), kind))
    where %= len(data)
    data[where : where + len(junk)] = junk
    with suppress(DataError):
        assert image_pipeline(SPEC).decode(bytes(data)).shape == (3, 73, 73)


@pytest.mark.parametrize(
    "change",
    [
        {"modality": "audio"},
        {"size": (4, 64, 64), "mean": (0.5,) * 4, "std": (0.5,) * 4},
        {"size": (64, 64)},
        {"size": (1, 64, 64)},
        {"std": (0.5, 0.5, 0.0)},
        {"interpolation": "guess"},
        {"crop_mode": "diagonal"},
        {"crop_pct": 0.0},
    ],
)
def test_specs_that_fit_no_image_are_plugin_errors(change: dict[str, Any]) -> None:
    with pytest.raises(PluginError):
        image_pipeline(replace(SPEC, **change))


def test_foreign_descriptions_are_data_errors() -> None:
    good = image_pipeline(SPEC).describe()
    item = encoded(photo(20, 20))
    for bad in ({}, {**good, "version": 99}, {**good, "kind": "text"}, {**good, "size": "big"}, {**good, "mean": None}):
        with pytest.raises(DataError):
            images.load_image(item, bad)


def test_the_key_names_what_decides_the_canvas_and_nothing_else() -> None:
    base = image_pipeline(SPEC)
    assert image_pipeline(replace(SPEC, mean=(0.5,) * 3, std=(0.5,) * 3)).key == base.key
    changes: list[dict[str, Any]] = [
        {"size": (3, 65, 65)},
        {"crop_pct": 0.9},
        {"crop_mode": "squash"},
        {"crop_mode": "border"},
        {"interpolation": "bilinear"},
        {"size": (1, 64, 64), "mean": (0.5,), "std": (0.5,)},
    ]
    keys = {image_pipeline(replace(SPEC, **change)).key for change in changes}
    assert len(keys | {base.key}) == len(changes) + 1
    border = replace(SPEC, crop_mode="border")
    assert image_pipeline(replace(border, mean=(0.1,) * 3)).key != image_pipeline(border).key


def test_shape_and_dtype_are_those_of_decoded_items() -> None:
    for crop_pct in (0.8, 1.0, 1.2):
        pipeline = image_pipeline(replace(SPEC, crop_pct=crop_pct))
        canvas = pipeline.decode(encoded(photo(50, 99)))
        assert (canvas.shape, canvas.dtype) == (pipeline.shape, pipeline.dtype)
        assert canvas.flags.c_contiguous
