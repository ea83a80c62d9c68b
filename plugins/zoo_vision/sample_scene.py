"""Painting a sample photo: a backdrop with clutter, an animal in fur, then light, blur and noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from zoo_vision.sample_shapes import Colour, Shape

OVERSAMPLE = 2
"""Shapes are drawn at this multiple of the final size and averaged down, which smooths their outlines."""

_FURS: tuple[Colour, ...] = (
    (200, 128, 66), (226, 176, 112), (238, 216, 178), (146, 100, 64), (104, 70, 46), (66, 48, 38),
    (44, 42, 44), (92, 92, 98), (140, 142, 148), (196, 196, 198), (240, 236, 228), (176, 150, 120),
)  # fmt: skip
_WALLS: tuple[Colour, ...] = (
    (206, 196, 180), (168, 186, 196), (190, 168, 158), (148, 160, 136), (120, 132, 152), (222, 216, 208),
    (176, 140, 110), (98, 104, 108), (150, 120, 140), (200, 182, 120), (70, 92, 86), (128, 78, 64),
)  # fmt: skip
_GROUND: tuple[Colour, ...] = (
    (104, 132, 66), (138, 150, 84), (150, 120, 84), (182, 152, 112), (124, 112, 104), (200, 192, 180), (90, 80, 76),
    (160, 70, 60), (80, 96, 140),
)  # fmt: skip


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """(height, width) in about -1..1, with features of ``1 / cells`` of the image."""
    coarse = rng.uniform(-1, 1, (cells + 2, cells + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def jittered(rng: np.random.Generator, colours: Sequence[Colour], spread: float = 14) -> np.ndarray:
    colour = np.array(colours[int(rng.integers(len(colours)))], np.float32)
    return (colour * rng.uniform(0.8, 1.15) + rng.normal(0, spread, 3)).clip(8, 250).astype(np.float32)


def fur(rng: np.random.Generator, height: int, width: int) -> dict[str, Image.Image]:
    """The coat and the second fur as textures of the canvas' size."""
    h, w = height // 2, width // 2
    base, other = jittered(rng, _FURS, 6), jittered(rng, _FURS, 6)
    pattern = rng.choice(["solid", "patches", "stripes", "spots", "shaded"], p=[0.34, 0.2, 0.22, 0.08, 0.16])
    if pattern == "patches":
        mask = np.clip(smooth_noise(rng, h, w, int(rng.integers(3, 6))) * 6 + rng.uniform(-1, 1), 0, 1)
    elif pattern == "stripes":
        other = base * rng.uniform(0.4, 0.65)
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        angle = rng.uniform(-0.6, 0.6)
        waves = (x * np.cos(angle) + y * np.sin(angle)) / rng.uniform(2.2, 4.2) + 3 * smooth_noise(rng, h, w, 5)
        mask = np.clip(np.sin(waves) * 1.6 - 0.3, 0, 1) * np.clip(smooth_noise(rng, h, w, 6) + 0.9, 0, 1)
    elif pattern == "spots":
        mask = np.clip(smooth_noise(rng, h, w, 16) * 5 - 1.6, 0, 1)
    elif pattern == "shaded":
        other = base * rng.uniform(0.55, 0.8)
        mask = np.clip(0.5 + smooth_noise(rng, h, w, 3), 0, 1)
    else:
        mask = np.zeros((h, w), np.float32)
    hair = rng.normal(0, 1, (h, w)).astype(np.float32)
    hair = hair + np.roll(hair, 1, 0) + np.roll(hair, (2, 1), (0, 1)) + np.roll(hair, 3, 0)
    hair *= rng.uniform(2.5, 7)
    coat = base + (other - base) * mask[..., None] + hair[..., None]
    second = jittered(rng, ((240, 236, 228), (226, 206, 170), (60, 52, 48), (196, 150, 100)), 6) + hair[..., None]

    def texture(pixels: np.ndarray) -> Image.Image:
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)

    return {"coat": texture(coat), "second": texture(second)}


def backdrop(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """Wall and floor, meadow, blanket or blurred lights, with things standing around."""
    h, w = height // 2, width // 2
    y = np.linspace(0, 1, h, dtype=np.float32)[:, None, None]
    top, bottom = jittered(rng, _WALLS), jittered(rng, _GROUND)
    picture = top * (1 - y * rng.uniform(0, 0.4)) + np.zeros((h, w, 1), np.float32)
    kind = rng.choice(["room", "meadow", "blanket", "plain"], p=[0.35, 0.25, 0.22, 0.18])
    if kind in ("room", "meadow"):
        horizon = rng.uniform(0.35, 0.85)
        edge = horizon + (0.04 if kind == "meadow" else 0.0) * smooth_noise(rng, h, w, 7)[..., None]
        ground = bottom * (0.8 + 0.3 * y) + np.zeros((h, w, 1), np.float32)
        if kind == "meadow":
            grain = rng.normal(0, 13, (h, w)).astype(np.float32)
            ground += (grain + np.roll(grain, 1, 0) + np.roll(grain, 2, 0))[..., None]
        picture = np.where(y > edge, ground, picture)
    if kind == "blanket" or (kind == "room" and rng.random() < 0.4):
        step, angle = rng.uniform(5, 18), rng.uniform(0, np.pi)
        rows, cols = np.mgrid[0:h, 0:w].astype(np.float32)
        u = np.cos(angle) * cols + np.sin(angle) * rows + 6 * smooth_noise(rng, h, w, 4)
        v = -np.sin(angle) * cols + np.cos(angle) * rows
        weave = np.sin(u / step * 2) + (np.sin(v / step * 2) if rng.random() < 0.5 else 0)
        picture = picture + np.sign(weave)[..., None] * rng.normal(0, 16, 3).astype(np.float32)
    picture += (14 * smooth_noise(rng, h, w, 4) + 7 * smooth_noise(rng, h, w, 20))[..., None]
    image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 8))):
        clutter(draw, rng, h, w)
    return image.filter(ImageFilter.GaussianBlur(float(rng.choice([0, 0.7, 1.5, 4])))).resize((width, height))


def clutter(draw: ImageDraw.ImageDraw, rng: np.random.Generator, height: int, width: int) -> None:
    """One thing of no class: a box, a ball, a leaf, a bar, a rag or a pair of pointed or round lobes."""
    colour = tuple(int(c) for c in jittered(rng, (*_WALLS, *_GROUND, *_FURS), 25))
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    size = rng.uniform(0.05, 0.24) * height
    form = int(rng.integers(6))
    if form == 0:
        draw.rectangle((x, y, x + size, y + size * rng.uniform(0.5, 2)), fill=colour)
    elif form == 1:
        draw.ellipse((x, y, x + size, y + size * rng.uniform(0.7, 1.2)), fill=colour)
    elif form == 2:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 5))
        draw.polygon([(x + size * np.cos(a), y + size * np.sin(a)) for a in angles], fill=colour)
    elif form == 3:
        end = (x + rng.uniform(-1, 1) * width * 0.6, y + rng.uniform(-1, 1) * height * 0.6)
        draw.line(((x, y), end), fill=colour, width=int(rng.integers(1, 7)))
    elif form == 4:
        for _ in range(4):
            tip = (x + rng.normal(0, size), y - abs(rng.normal(0, size)))
            draw.polygon([(x - 3, y), tip, (x + 3, y)], fill=colour)
    else:
        lobe = rng.uniform(0.2, 0.5) * size
        for side in (-1, 1):
            if rng.random() < 0.5:
                draw.polygon([(x, y), (x + side * size, y - size), (x + side * size, y + lobe)], fill=colour)
            else:
                cx = x + side * size * 0.7
                draw.ellipse((cx - lobe, y - lobe, cx + lobe, y + 2 * lobe), fill=colour)


def placement(shapes: Sequence[Shape], rng: np.random.Generator, height: int, width: int) -> tuple[float, np.ndarray]:
    """(pixels per unit, offset), from the animal's extent: its size in the picture says nothing of its kind."""
    points = np.concatenate([shape.points for shape in shapes if shape.framed and shape.width is None])
    low, high = points.min(0), points.max(0)
    sides = high - low
    extent = (float(np.sqrt(np.prod(sides))) + float(sides.max())) / 2
    scale = rng.uniform(0.62, 1.04) * min(height, width) / extent
    centre = np.array([width, height]) * rng.normal(0.5, 0.06, 2)
    return scale, centre - scale * (low + high) / 2


def paint(
    image: Image.Image,
    shapes: Sequence[Shape],
    textures: dict[str, Image.Image],
    scale: float,
    offset: np.ndarray,
    sun: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Draw ``shapes`` into ``image``, each shaded from its outline inwards and from the side of ``sun`` (x, y)."""
    draw = ImageDraw.Draw(image)
    for shape in shapes:
        points = shape.points * scale + offset
        if shape.width is not None:
            fill = _plain(shape, textures, points)
            draw.line([tuple(p) for p in points], fill=fill, width=max(1, round(shape.width * scale)), joint="curve")
            continue
        if shape.tufts:
            points = points + rng.normal(0, shape.tufts * scale, points.shape)
        left, top = np.maximum(np.floor(points.min(0)).astype(int) - 2, 0)
        right, bottom = np.minimum(np.ceil(points.max(0)).astype(int) + 3, image.size)
        if right - left < 2 or bottom - top < 2:
            continue
        box = (int(left), int(top), int(right), int(bottom))
        mask = Image.new("L", (box[2] - box[0], box[3] - box[1]))
        ImageDraw.Draw(mask).polygon([(x - box[0], y - box[1]) for x, y in points], fill=255)
        if isinstance(shape.paint, str):
            pixels = np.asarray(textures[shape.paint].crop(box)).astype(np.float32)
        else:
            pixels = np.full((mask.height, mask.width, 3), shape.paint, np.float32)
        shade = np.full((mask.height, mask.width), shape.light, np.float32)
        if shape.rim:
            radius = 0.14 * float(np.sqrt(mask.height * mask.width))
            inner = np.asarray(mask.filter(ImageFilter.BoxBlur(radius))).astype(np.float32) / 255
            shade *= 1 - shape.rim * 1.6 * (1 - inner)
            across = np.linspace(-1, 1, mask.width, dtype=np.float32)[None] * sun[0]
            shade *= 1 + 0.16 * (across + np.linspace(-1, 1, mask.height, dtype=np.float32)[:, None] * sun[1])
        pixels *= shade[..., None]
        image.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), box, mask)


def _plain(shape: Shape, textures: dict[str, Image.Image], points: np.ndarray) -> tuple[int, ...]:
    """A line's colour: its own, or that of the fur under its middle."""
    if not isinstance(shape.paint, str):
        return shape.paint
    texture = textures[shape.paint]
    x, y = points[len(points) // 2].round().astype(int).clip(0, np.array(texture.size) - 1)
    return tuple((np.asarray(texture.crop((x, y, x + 1, y + 1)))[0, 0] * shape.light).astype(int).tolist())


def photograph(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """``image`` at its final size, as a camera might have taken it: light, colour cast, blur, noise."""
    small = image.reduce(OVERSAMPLE)
    blur = float(rng.choice([0.0, 0.0, 0.4, 0.8, 1.2]))
    if blur:
        small = small.filter(ImageFilter.GaussianBlur(blur))
    pixels = np.asarray(small).astype(np.float64)
    height, width = pixels.shape[:2]
    pixels *= (1 + rng.uniform(0, 0.3) * smooth_noise(rng, height, width, 2))[..., None]
    pixels = 255 * (pixels.clip(0, 255) / 255) ** rng.uniform(0.7, 1.4)
    pixels = (pixels - 128) * rng.uniform(0.75, 1.15) + 128 + rng.uniform(-22, 22)
    pixels = pixels * rng.normal(1, 0.06, 3)
    if rng.random() < 0.06:
        pixels = np.repeat(pixels.mean(2, keepdims=True), 3, axis=2)
    pixels += rng.normal(0, rng.uniform(1, 8), pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
