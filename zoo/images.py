"""Image files to a network's input, without torch: what training caches, prediction and serving share.

The geometry repeats timm's evaluation transform (``timm.data.create_transform(is_training=False)``) pixel for pixel:
resize with PIL, then a centre crop. It is cut in two so that training can decode once: :func:`decode_image` gives the
*canvas*, the resized image cropped to the resize target (256 x 256 for 224 at ``crop_pct`` 0.875), and :func:`to_float`
takes its centre, scales to 0..1 and normalises.

Unlike timm's reader, EXIF orientation is applied (photos from phones), transparency is laid on white and 16-bit
greyscale keeps its contrast.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from zoo.data.generated import Generated, make_arrays
from zoo.data.items import file_of
from zoo_registry.errors import DataError, PluginError
from zoo_registry.specs import InputSpec

VERSION = 1
"""Raised whenever the same file and spec would decode to other pixels, so that caches are not reused."""

MAX_PIXELS = 120_000_000
"""Largest image decoded, in pixels; above the sensors of today's phones, below what a decompression bomb claims."""

SHOWN = (3, 224, 224)
"""Channels, height and width of a generated image where no network says which it needs."""

# Formats whose decoders run inside PIL. EPS is left out because PIL hands it to Ghostscript, TGA because it has no
# signature and would "recognise" arbitrary bytes.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_CROP_MODES = ("center", "squash", "border")
_MODE = {1: "L", 3: "RGB"}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


def check_spec(spec: InputSpec) -> InputSpec:
    """``spec``, if images can be prepared for it.

    Raises:
        PluginError: no image spec, or a field that the transform does not know.
    """
    problem = ""
    if spec.modality != "image":
        problem = f"the modality is {spec.modality!r}"
    elif len(spec.size) != 3 or spec.size[0] not in _MODE or min(spec.size) < 1:
        problem = f"size {spec.size} is not (1 or 3 channels, height, width)"
    elif len(spec.mean) != spec.size[0] or len(spec.std) != spec.size[0] or min(spec.std) <= 0:
        problem = f"mean {spec.mean} and std {spec.std} do not hold one value per channel"
    elif spec.interpolation not in _RESAMPLING:
        problem = f"interpolation {spec.interpolation!r} is none of {', '.join(_RESAMPLING)}"
    elif spec.crop_mode not in _CROP_MODES:
        problem = f"crop_mode {spec.crop_mode!r} is none of {', '.join(_CROP_MODES)}"
    elif not spec.crop_pct > 0:
        problem = f"crop_pct {spec.crop_pct} is not positive"
    if problem:
        raise PluginError(
            f"Images cannot be prepared for this input contract: {problem}.",
            "Correct the InputSpec of the model or weights in its plugin.",
        )
    return spec


def resize_target(spec: InputSpec) -> tuple[int, int]:
    """(height, width) that images are resized towards: ``floor(size / crop_pct)``."""
    return math.floor(spec.size[1] / spec.crop_pct), math.floor(spec.size[2] / spec.crop_pct)


def canvas_size(spec: InputSpec) -> tuple[int, int]:
    """(height, width) of a decoded image: the resize target, or the input size where that is larger."""
    target = resize_target(spec)
    return max(target[0], spec.size[1]), max(target[1], spec.size[2])


def crop_offset(length: int, window: int) -> int:
    """Where a centred window starts, negative where it is the larger; torchvision's rounding (half to even)."""
    return round((length - window) / 2.0) if length >= window else -((window - length) // 2)


def canvas_margin(spec: InputSpec) -> tuple[int, int]:
    """(top, left) of the network's input inside the canvas."""
    height, width = canvas_size(spec)
    return crop_offset(height, spec.size[1]), crop_offset(width, spec.size[2])


def resized_size(height: int, width: int, spec: InputSpec) -> tuple[int, int]:
    """(height, width) an image of ``height`` x ``width`` is resized to before cropping."""
    target_h, target_w = resize_target(spec)
    if spec.crop_mode == "squash":
        return target_h, target_w
    if spec.crop_mode == "center" and target_h == target_w:
        # torchvision truncates the long side here, the general rule below rounds it.
        if width <= height:
            return int(target_w * height / width), target_w
        return target_h, int(target_h * width / height)
    ratios = (height / target_h, width / target_w)
    ratio = max(ratios) if spec.crop_mode == "border" else min(ratios)
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def border_fill(spec: InputSpec) -> tuple[int, ...]:
    """Colour around an image that does not fill the canvas."""
    if spec.crop_mode == "border":
        return tuple(round(255 * value) for value in spec.mean)
    return (0,) * spec.size[0]


def open_image(item: Any) -> Image.Image:
    """A raw item as an upright 8-bit RGB PIL image.

    Args:
        item: a path, the file's bytes, ``{"bytes": ..., "path": ...}`` as the ``datasets`` library stores images, a
            :class:`zoo.data.items.Member` of an archive, a PIL image, a uint8 array (H, W) or (H, W, 3), or a
            :class:`zoo.data.generated.Generated`, which is then shown in :data:`SHOWN` pixels.

    Raises:
        DataError: missing, empty, truncated, larger than :data:`MAX_PIXELS`, or no image. Names the path.
    """
    source, name = _source(item)
    remedy = "Repair, replace or remove it."
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source, name)
        with Image.open(source, formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{name} claims {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}.",
                    "Scale it down first; files that unpack to this size are refused to protect the memory.",
                )
            image.load()
            return _to_rgb(_upright(image), name)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} would unpack to an unreasonable size ({error}).", remedy) from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{name} is not an image in a known format.", remedy) from error
    except Exception as error:
        # PIL's decoders raise almost any type on damaged bytes (OSError, SyntaxError, struct.error, ...).
        reason = str(error) or type(error).__name__
        raise DataError(f"{name} is a damaged image ({reason}).", remedy) from error


def decode_image(item: Any, spec: InputSpec) -> np.ndarray:
    """A raw item (see :func:`open_image`) as the uint8 canvas (C, *canvas_size(spec)).

    Raises:
        DataError: as :func:`open_image`, or an image so elongated that resizing it would not fit in memory.
    """
    if isinstance(item, Generated):
        return np.asarray(make_arrays([item], (spec.size[0], *canvas_size(spec)))[0])
    image = open_image(item)
    height, width = resized_size(image.height, image.width, spec)
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{_source(item)[1]} is too elongated: {image.width} x {image.height} pixels would be resized to "
            f"{width} x {height}.",
            "Crop it first.",
        )
    if spec.size[0] == 1:
        image = image.convert("L")
    pixels = np.asarray(image.resize((width, height), _RESAMPLING[spec.interpolation]))
    pixels = pixels.reshape(height, width, spec.size[0]).transpose(2, 0, 1)

    canvas_h, canvas_w = canvas_size(spec)
    margin_top, margin_left = canvas_margin(spec)
    # The canvas is placed by the network's window, not centred by itself: two roundings could differ by a pixel.
    top = crop_offset(height, spec.size[1]) - margin_top
    left = crop_offset(width, spec.size[2]) - margin_left
    rows = slice(max(top, 0), min(top + canvas_h, height))
    cols = slice(max(left, 0), min(left + canvas_w, width))
    part = pixels[:, rows, cols]
    if part.shape[1:] == (canvas_h, canvas_w):
        return np.ascontiguousarray(part)
    canvas = np.empty((spec.size[0], canvas_h, canvas_w), np.uint8)
    canvas[:] = np.array(border_fill(spec), np.uint8)[:, None, None]
    canvas[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = part
    return canvas


def to_float(canvas: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Canvases (..., C, SH, SW) uint8 as network input (..., C, H, W) float32, normalised."""
    top, left = canvas_margin(spec)
    window = canvas[..., top : top + spec.size[1], left : left + spec.size[2]]
    mean = np.array(spec.mean, np.float32)[:, None, None]
    std = np.array(spec.std, np.float32)[:, None, None]
    out: np.ndarray = (window.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(out)


def describe_input(spec: InputSpec) -> dict[str, Any]:
    """The contract as JSON values: everything :func:`load_image` needs, and the resize target for readers."""
    return {
        "kind": "image",
        "version": VERSION,
        "size": list(spec.size),
        "mean": list(spec.mean),
        "std": list(spec.std),
        "interpolation": spec.interpolation,
        "crop_pct": spec.crop_pct,
        "crop_mode": spec.crop_mode,
        "resize": list(resize_target(spec)),
        "colour": _MODE[spec.size[0]],
    }


def spec_from(describe: dict[str, Any]) -> InputSpec:
    """The input contract that :func:`describe_input` wrote.

    Raises:
        DataError: no description of image preprocessing, or one of another version.
    """
    try:
        kind, version = describe["kind"], describe["version"]
        spec = InputSpec(
            modality=kind,
            size=tuple(int(n) for n in describe["size"]),
            mean=tuple(float(x) for x in describe["mean"]),
            std=tuple(float(x) for x in describe["std"]),
            interpolation=str(describe["interpolation"]),
            crop_pct=float(describe["crop_pct"]),
            crop_mode=str(describe["crop_mode"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The description of the preprocessing is not complete ({error!r}).",
            "Take model.json as zoo wrote it, or export the run again.",
        ) from error
    if kind != "image" or version != VERSION:
        raise DataError(
            f"The preprocessing is of kind {kind!r} version {version!r}; this zoo knows 'image' version {VERSION}.",
            "Use the zoo version that wrote it, or export the run again.",
        )
    return check_spec(spec)


def load_image(item: Any, describe: dict[str, Any]) -> np.ndarray:
    """A raw item as network input (C, H, W) float32, from the pipeline's ``describe()`` alone.

    Raises:
        DataError: as :func:`open_image` and :func:`spec_from`.
    """
    spec = spec_from(describe)
    return to_float(decode_image(item, spec), spec)


def load_raw(item: Any) -> np.ndarray:
    """A raw item as upright pixels (H, W, 3) uint8: the input of an export that preprocesses inside its graph.

    Raises:
        DataError: as :func:`open_image`.
    """
    return np.array(open_image(item))


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _source(item: Any) -> tuple[Any, str]:
    """What PIL can open, and what to call it in a message."""
    if isinstance(item, Generated):
        item = make_arrays([item], SHOWN)[0].transpose(1, 2, 0)
    if (found := file_of(item, "image")) is not None:
        return found
    if isinstance(item, Image.Image):
        return item, "An image in memory"
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.size:
        shape = item.shape if item.ndim == 3 else (*item.shape, 3)
        if len(shape) == 3 and shape[2] == 3:
            return Image.fromarray(np.ascontiguousarray(item)), "An image in memory"
    raise DataError(
        f"An item of type {type(item).__name__} is no image.",
        "Give a path, the bytes of a file, a PIL image or a uint8 array (H, W, 3).",
    )


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata says nothing about the pixels
        orientation = 1
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_wide(image, name).convert("RGB")
    if image.has_transparency_data:
        # Dropping alpha would show whatever colour the editor left under transparent pixels, usually black.
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _from_wide(image: Image.Image, name: str) -> Image.Image:
    """16-bit integers or floats as 8-bit greyscale. PIL's own conversion clips at 255, which leaves a white image."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        scale = 255.0 if values.max(initial=0) <= 1 else 1.0
    else:
        scale = 1 / 257
    values = values * scale
    if not np.isfinite(values).all() or values.max(initial=0) > 255.5:
        raise DataError(
            f"{name} holds values outside 0..1 and 0..255 (floats) or 0..65535 (integers).",
            "Convert it to 8 or 16 bits first.",
        )
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))
