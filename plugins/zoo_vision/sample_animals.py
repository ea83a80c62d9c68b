"""Cats and dogs as lists of shapes. The class shows in form alone: ears, muzzle, pupils, whiskers, tail, proportions.

Everything else (colours, patterns, poses, size, place, background) is drawn from the same distribution for both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from zoo_vision.sample_shapes import (
    Colour,
    Shape,
    ellipse,
    path,
    placed,
    pointed,
    ribbon,
    rotated,
    smooth,
    symmetric,
)

KINDS = ("cat", "dog")
POSES = ("face", "sitting", "lying", "standing")

_EYES: tuple[Colour, ...] = ((196, 164, 60), (120, 150, 70), (110, 150, 180), (150, 98, 48), (96, 62, 36))
_NOSES: tuple[Colour, ...] = ((36, 30, 32), (58, 44, 42), (176, 110, 110), (110, 74, 62))
_DARK: Colour = (28, 24, 24)
_PINK: Colour = (206, 120, 126)
_COLLARS: tuple[Colour, ...] = ((178, 40, 44), (40, 82, 160), (60, 130, 70), (220, 170, 50), (90, 60, 130))


def animal(kind: str, pose: str, rng: np.random.Generator) -> list[Shape]:
    """One animal, back to front.

    Args:
        kind: one of :data:`KINDS`.
        pose: one of :data:`POSES`.
    """
    shag = rng.choice([0.0, 0.015, 0.04])
    if pose == "standing":
        return _standing(kind, rng, shag)
    yaw = rng.uniform(-0.3, 0.3)
    head = _cat_head(rng, yaw, shag) if kind == "cat" else _dog_head(rng, yaw, shag)
    head = placed(head, angle=rng.normal(0, 0.14))
    if pose == "face":
        # A portrait frames the head; how much of the shoulders is seen follows from that.
        return [*[replace(shape, framed=False) for shape in _bust(rng, shag)], *head]
    return _sitting(kind, rng, head, shag) if pose == "sitting" else _lying(kind, rng, head, shag)


def _either(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _second(rng: np.random.Generator, chance: float) -> str:
    return "second" if rng.random() < chance else "coat"


def _eye(
    x: float, y: float, rx: float, ry: float, iris: Colour, pupil: tuple[float, float], angle: float
) -> list[Shape]:
    return [
        Shape(points=ellipse(x, y, rx * 1.16, ry * 1.2, angle), paint=_DARK, rim=0),
        Shape(points=ellipse(x, y, rx, ry, angle), paint=iris, rim=0.35),
        Shape(points=ellipse(x, y, *pupil), paint=(12, 10, 12), rim=0),
        Shape(points=ellipse(x - rx * 0.3, y - ry * 0.35, rx * 0.2, ry * 0.2), paint=(250, 250, 250), rim=0),
    ]


def _cat_head(rng: np.random.Generator, yaw: float, shag: float) -> list[Shape]:
    wide, long = rng.uniform(0.94, 1.1), rng.uniform(0.9, 1.02)
    cheek = rng.uniform(0.74, 0.95)
    shapes = []
    for side in (-1, 1):
        tip_x, tip_y = rng.uniform(0.62, 0.9), rng.uniform(-1.62, -1.3)
        ear = pointed((0.12, -0.72), (tip_x, tip_y), (0.98, -0.2), rng.uniform(0.1, 0.45)) * (side, 1)
        inner = (ear - ear.mean(0)) * 0.6 + ear.mean(0) * (1, 1.02)
        shapes.append(Shape(points=ear, paint="coat", light=0.9, tufts=shag))
        shapes.append(Shape(points=inner, paint=_PINK if rng.random() < 0.6 else "second", light=0.8, rim=0.5))
    outline = [
        (0, -0.84),
        (0.5, -0.8),
        (0.9, -0.35),
        (cheek + 0.08, 0.2),
        (cheek - 0.12, 0.56),
        (0.34, 0.82),
        (0, 0.88),
    ]
    head = symmetric([(x * wide, y * long) for x, y in outline])
    shapes.append(Shape(points=head, paint="coat", tufts=shag * 1.4))
    if rng.random() < 0.45:
        for x in (-0.24, 0.0, 0.24):
            mark = path([(x * 0.6 + yaw * 0.4, -0.34), (x + yaw * 0.3, -0.55), (x * 1.2 + yaw * 0.2, -0.76)])
            shapes.append(Shape(points=mark, paint="coat", light=0.5, width=0.07))

    iris, open_ = _either(rng, _EYES), rng.uniform(0.75, 1.1)
    slit = rng.uniform(0.03, 0.075)
    for side in (-1, 1):
        x = side * 0.42 * wide + yaw * 0.5
        shapes += _eye(x, -0.06, 0.22, 0.17 * open_, iris, (slit, 0.155 * open_), side * -0.22)

    muzzle = _second(rng, 0.6)
    nx = yaw * 0.9
    for side in (-1, 1):
        puff = ellipse(nx + side * 0.18, 0.46, 0.24, 0.19, side * 0.2)
        shapes.append(Shape(points=puff, paint=muzzle, light=1.12, rim=0.22))
    shapes.append(Shape(points=ellipse(nx, 0.64, 0.18, 0.12), paint=muzzle, light=1.02, rim=0.2))
    nose = smooth([(nx - 0.13, 0.24), (nx + 0.13, 0.24), (nx + 0.05, 0.34), (nx, 0.38), (nx - 0.05, 0.34)], 4)
    shapes.append(Shape(points=nose, paint=_either(rng, _NOSES), rim=0.2))
    for side in (-1, 1):
        lip = path([(nx, 0.36), (nx + side * 0.03, 0.5), (nx + side * 0.16, 0.56), (nx + side * 0.27, 0.5)])
        shapes.append(Shape(points=lip, paint=_DARK, width=0.032))
    if rng.random() < 0.2:
        shapes.append(Shape(points=ellipse(nx, 0.6, 0.07, 0.1), paint=_PINK))
    pale: Colour = (240, 238, 232) if rng.random() < 0.75 else (60, 56, 54)
    droop, reach = rng.uniform(-0.15, 0.2), rng.uniform(0.95, 1.35)
    for side in (-1, 1):
        for i in range(4):
            rise = (i - 1.5) * 0.17 + droop
            start = (nx + side * 0.26, 0.4 + i * 0.05)
            middle = (nx + side * reach * 0.6, 0.4 + rise * 0.6 - 0.05)
            end = (nx + side * reach, 0.42 + rise)
            shapes.append(Shape(points=path([start, middle, end]), paint=pale, width=0.024))
    return shapes


def _dog_head(rng: np.random.Generator, yaw: float, shag: float) -> list[Shape]:
    wide, long = rng.uniform(0.88, 1.06), rng.uniform(0.95, 1.15)
    outline = [
        (0, -0.86),
        (0.42, -0.82),
        (0.74, -0.45),
        (0.76, 0.0),
        (0.6, 0.45),
        (0.48, 0.85),
        (0.26, 1.06),
        (0, 1.12),
    ]
    head = Shape(points=symmetric([(x * wide, y * long) for x, y in outline]), paint="coat", tufts=shag * 1.4)
    ears, in_front = _dog_ears(rng, wide, shag)
    shapes = [head, *ears] if in_front else [*ears, head]
    if rng.random() < 0.3:
        blaze = smooth([(yaw * 0.3 - 0.08, -0.85), (yaw * 0.3 + 0.08, -0.85), (yaw + 0.2, 0.2), (yaw - 0.2, 0.2)])
        shapes.append(Shape(points=blaze, paint="second", rim=0.05))

    iris = _either(rng, _EYES)
    for side in (-1, 1):
        x, y = side * 0.37 * wide + yaw * 0.45, -0.14
        shapes += _eye(x, y, 0.125, 0.125, iris, (0.075, 0.075), 0.0)
        if rng.random() < 0.35:
            brow = path([(x - 0.14, y - 0.24), (x, y - 0.3), (x + 0.14, y - 0.24)])
            shapes.append(Shape(points=brow, paint="second", width=0.08))

    muzzle = _second(rng, 0.6)
    mx, broad = yaw * 1.1, rng.uniform(0.4, 0.54)
    top = [(yaw * 0.7, 0.02), (mx + 0.2, 0.12), (mx + broad * 0.85, 0.45), (mx + broad, 0.72), (mx + broad * 0.7, 1.0)]
    bottom = [(mx, 1.06), (mx - broad * 0.7, 1.0), (mx - broad, 0.72), (mx - broad * 0.85, 0.45), (mx - 0.2, 0.12)]
    if rng.random() < 0.45:
        tongue_y = rng.uniform(0.15, 0.4)
        tongue = ellipse(mx + rng.uniform(-0.08, 0.08), 0.98 + tongue_y * 0.6, 0.16, 0.12 + tongue_y)
        shapes.append(Shape(points=ellipse(mx, 1.02, broad * 0.7, 0.2), paint=(70, 34, 38)))
        shapes.append(Shape(points=tongue, paint=_PINK))
    shapes.append(Shape(points=smooth([*top, *bottom]), paint=muzzle, light=1.1, rim=0.3, tufts=shag * 0.5))
    nose_w = rng.uniform(0.2, 0.28)
    nose = [(-1, -0.1), (-0.6, -0.62), (0.6, -0.62), (1, -0.1), (0.55, 0.5), (0, 0.72), (-0.55, 0.5)]
    shade = _either(rng, _NOSES)
    shapes.append(
        Shape(points=smooth([(mx + x * nose_w, 0.38 + y * nose_w) for x, y in nose], 4), paint=shade, rim=0.2)
    )
    shapes.append(Shape(points=ellipse(mx - 0.06, 0.29, 0.06, 0.03), paint=(210, 210, 214), rim=0))
    for side in (-1, 1):
        lip = [(mx, 0.52), (mx + side * 0.03, 0.74), (mx + side * broad * 0.55, 0.88), (mx + side * broad * 0.95, 0.76)]
        shapes.append(Shape(points=path(lip), paint=_DARK, width=0.045))
    return shapes


def _dog_ears(rng: np.random.Generator, wide: float, shag: float) -> tuple[list[Shape], bool]:
    """Ears, and whether they hang in front of the head."""
    form = rng.choice(["hanging", "folded", "pricked"], p=[0.66, 0.22, 0.12])
    drop, spread = rng.uniform(0.25, 1.15), rng.uniform(0.95, 1.22)
    light = rng.choice([0.62, 0.8, 0.95])
    paint = _second(rng, 0.15)
    shapes = []
    for side in (-1, 1):
        if form == "hanging":
            outline = [(0.42, -0.8), (0.82, -0.82), (spread, -0.3), (spread + 0.04, drop * 0.6), (0.92, drop)]
            outline += [(0.72, drop * 0.65), (0.66, -0.2)]
            ear = smooth([(x * wide, y) for x, y in outline])
        elif form == "folded":
            outline = [(0.36, -0.78), (0.66, -1.12), (0.98, -1.02), (1.14, -0.52), (1.02, -0.4), (0.76, -0.5)]
            ear = smooth([(x * wide, y) for x, y in outline])
        else:
            ear = pointed((0.2, -0.7), (rng.uniform(0.58, 0.72), -1.62), (0.78, -0.34), 0.5) * (wide, 1)
        shapes.append(Shape(points=ear * (side, 1), paint=paint, light=light, tufts=shag * 1.5, rim=0.4))
        if form == "pricked":
            inner = (ear - ear.mean(0)) * 0.55 + ear.mean(0)
            shapes.append(Shape(points=inner * (side, 1), paint=_PINK, light=0.75, rim=0.5))
    return shapes, form != "pricked"


def _collar(rng: np.random.Generator, points: list[tuple[float, float]]) -> list[Shape]:
    if rng.random() < 0.7:
        return []
    tag = points[len(points) // 2]
    return [
        Shape(points=path(points), paint=_either(rng, _COLLARS), width=0.17),
        Shape(points=ellipse(tag[0], tag[1] + 0.14, 0.1, 0.1), paint=(214, 190, 90)),
    ]


def _bust(rng: np.random.Generator, shag: float) -> list[Shape]:
    """Neck and shoulders under a portrait."""
    width, lean = rng.uniform(0.9, 1.5), rng.uniform(-0.35, 0.35)
    outline = [
        (0.55, 0.3),
        (0.75, 0.9),
        (width, 1.7),
        (width + 0.2, 2.6),
        (-width - 0.2, 2.6),
        (-width, 1.7),
        (-0.75, 0.9),
    ]
    body = smooth([(x + lean * max(0, y - 0.5), y) for x, y in [*outline, (-0.55, 0.3)]])
    chest = ellipse(lean, 1.75, width * 0.5, 0.75)
    shapes = [Shape(points=body, paint="coat", light=0.85, tufts=shag)]
    if rng.random() < 0.4:
        shapes.append(Shape(points=chest, paint="second", light=0.95, rim=0.05, tufts=shag))
    return [*shapes, *_collar(rng, [(-0.7 + lean * 0.4, 0.9), (lean * 0.5, 1.2), (0.7 + lean * 0.4, 0.9)])]


def _sitting(kind: str, rng: np.random.Generator, head: list[Shape], shag: float) -> list[Shape]:
    cat = kind == "cat"
    shoulder, hip = (0.72, 1.02) if cat else (0.85, 1.02)
    shoulder, hip = shoulder * rng.uniform(0.9, 1.15), hip * rng.uniform(0.9, 1.2)
    floor = rng.uniform(2.7, 3.1) if cat else rng.uniform(3.0, 3.5)
    side = rng.choice([-1, 1])
    if cat:
        curl = rng.uniform(0, 1)
        tail_points = [(side * hip * 0.6, floor - 0.25), (side * (hip + 0.5), floor - 0.2)]
        tail_points += [
            (side * (hip + 0.95), floor - 0.6 - curl),
            (side * (hip + 0.6 + 0.5 * curl), floor - 1.2 - curl),
        ]
        tail = ribbon(tail_points, [0.34, 0.3, 0.28, 0.2])
    else:
        lift = rng.uniform(0.0, 0.8)
        tail_points = [(side * hip * 0.6, floor - 0.3), (side * (hip + 0.4), floor - 0.35 - lift * 0.4)]
        tail = ribbon([*tail_points, (side * (hip + 0.85), floor - 0.5 - lift)], [0.36, 0.3, 0.12])
    shapes = [Shape(points=tail, paint="coat", light=0.85, tufts=shag * 1.5)]
    body = symmetric([(0, 0.3), (0.5, 0.6), (shoulder, 1.3), (hip, floor - 0.9), (hip, floor - 0.2), (0, floor)])
    shapes.append(Shape(points=body, paint="coat", light=0.9, tufts=shag))
    for s in (-1, 1):
        haunch = ellipse(s * hip * 0.78, floor - 0.5, 0.42, 0.55, s * 0.3)
        shapes.append(Shape(points=haunch, paint="coat", light=0.92, rim=0.35))
    if rng.random() < 0.5:
        shapes.append(Shape(points=ellipse(0, 1.55, shoulder * 0.62, 0.75), paint="second", rim=0.05, tufts=shag))
    paw = _second(rng, 0.35)
    leg, gap = (0.3, 0.26) if cat else (0.36, 0.38)
    for s in (-1, 1):
        limb = ribbon([(s * gap * 1.15, 1.7), (s * gap, 2.3), (s * gap, floor - 0.05)], [leg * 1.3, leg, leg])
        shapes.append(Shape(points=limb, paint="coat", light=1.0, rim=0.4))
        shapes.append(Shape(points=ellipse(s * gap * 1.05, floor - 0.02, leg * 0.72, 0.15), paint=paw, light=1.05))
        shapes.append(Shape(points=ellipse(s * (hip * 0.85), floor + 0.02, 0.34, 0.15), paint=paw))
    shapes += _collar(rng, [(-0.58, 0.8), (0, 1.08), (0.58, 0.8)])
    return [*shapes, *head]


def _lying(kind: str, rng: np.random.Generator, head: list[Shape], shag: float) -> list[Shape]:
    cat = kind == "cat"
    side = rng.choice([-1, 1])
    long, floor = rng.uniform(1.7, 2.5), rng.uniform(1.25, 1.55)
    back = rng.uniform(-0.35, 0.1) if cat else rng.uniform(-0.1, 0.3)
    tail_width = [0.34, 0.3, 0.26, 0.2] if cat else [0.36, 0.32, 0.24, 0.12]
    reach = rng.uniform(0.5, 1.1) if cat else rng.uniform(0.3, 0.8)
    tail = ribbon(
        [(long * 0.9, floor - 0.3), (long + reach * 0.6, floor - 0.1), (long + reach, floor - 0.3)]
        + [(long + reach * (0.7 if cat else 1.2), floor - (0.8 if cat else 0.4))],
        tail_width,
    )
    body = smooth(
        [(-0.7, 0.0), (0.4, back), (long * 0.75, back + 0.1), (long + 0.1, floor - 0.6), (long, floor), (-0.8, floor)]
    )
    thigh = ellipse(long * 0.68, floor - 0.45, 0.55, 0.5)
    shapes = [
        Shape(points=tail * (side, 1), paint="coat", light=0.88, tufts=shag * 1.5),
        Shape(points=body * (side, 1), paint="coat", light=0.9, tufts=shag),
        Shape(points=thigh * (side, 1), paint="coat", light=0.95, rim=0.35),
    ]
    paw = _second(rng, 0.4)
    thick, ahead = (0.3, 0.25) if cat else (0.34, 0.6)
    for s in (-1, 1):
        limb = ribbon(
            [(s * 0.45, floor - 0.3), (s * 0.5, floor), (s * 0.52, floor + ahead)], [thick * 1.3, thick, thick]
        )
        shapes.append(Shape(points=limb, paint="coat", light=0.98, rim=0.35))
        shapes.append(Shape(points=ellipse(s * 0.52, floor + ahead, thick * 0.72, 0.18), paint=paw, light=1.05))
    shapes += _collar(rng, [(-0.55, 0.8), (0, 1.1), (0.55, 0.8)])
    return [*shapes, *head]


def _standing(kind: str, rng: np.random.Generator, shag: float) -> list[Shape]:
    """Side view, facing right."""
    cat = kind == "cat"
    leg = rng.uniform(1.0, 1.25) if cat else rng.uniform(1.15, 1.7)
    length = rng.uniform(1.15, 1.45) if cat else rng.uniform(1.1, 1.5)
    chest, waist = (0.58, 0.5) if cat else (0.72, 0.4)
    thick = 0.26 if cat else 0.3
    stride = rng.uniform(-0.35, 0.35)
    paw = _second(rng, 0.4)

    def limbs(light: float, step: float) -> list[Shape]:
        shapes = []
        for x, bend in ((length * 0.78, 0.06), (-length * 0.82, -0.14)):
            foot = (x + step, 0.35 + leg)
            limb = ribbon(
                [(x, 0.1), (x + bend + step * 0.4, 0.3 + leg * 0.5), foot], [thick * 1.9, thick * 1.05, thick * 0.9]
            )
            shapes.append(Shape(points=limb, paint="coat", light=light, rim=0.3, tufts=shag))
            shapes.append(
                Shape(points=ellipse(foot[0] + 0.1, foot[1], thick * 0.8, 0.13), paint=paw, light=light * 1.05)
            )
        return shapes

    if cat:
        lift, hook = rng.uniform(-0.5, 1.0), rng.uniform(-0.5, 0.6)
        tail = [
            (-length, -0.25),
            (-length - 0.6, -0.35 - lift * 0.5),
            (-length - 0.8, -0.7 - lift),
            (-length - 0.8 + hook, -1.1 - lift),
        ]
        tail_shape = ribbon(tail, [0.3, 0.24, 0.22, 0.18])
    else:
        lift = rng.uniform(-0.9, 0.9)
        tail = [(-length, -0.3), (-length - 0.45, -0.35 - lift * 0.5), (-length - 0.7, -0.4 - lift)]
        tail_shape = ribbon(tail, [0.32, 0.24, 0.1])
    body = smooth(
        [(length, -0.42), (length + 0.2, 0.05), (length * 0.75, chest), (0, waist + 0.08), (-length * 0.7, waist)]
        + [(-length - 0.12, 0.1), (-length * 0.95, -0.45), (-0.2, -0.5 + rng.uniform(-0.12, 0.1))]
    )
    shapes = [
        Shape(points=tail_shape, paint="coat", light=0.9, tufts=shag * 1.5),
        *limbs(0.72, -stride - 0.22),
        Shape(points=body, paint="coat", tufts=shag * 1.3),
    ]
    shapes += limbs(1.0, stride)

    up = rng.uniform(-0.15, 0.35)
    x, y = (length + 0.62, -0.72 - up) if cat else (length + 0.7, -0.98 - up)
    neck = ribbon([(length * 0.72, -0.05), (length + 0.28, -0.4 - up * 0.5), (x - 0.1, y + 0.1)], [1.0, 0.72, 0.6])
    shapes.append(Shape(points=neck, paint="coat", tufts=shag))
    shapes += _collar(rng, [(x - 0.5, y + 0.35), (x - 0.28, y + 0.55), (x + 0.02, y + 0.6)])
    if rng.random() < 0.35:  # looking at the camera
        front = _cat_head(rng, rng.uniform(0, 0.3), shag) if cat else _dog_head(rng, rng.uniform(0, 0.3), shag)
        return [*shapes, *placed(front, x=x, y=y, scale=0.86, angle=rng.normal(0, 0.1))]
    profile = _cat_profile(rng, shag) if cat else _dog_profile(rng, shag)
    return [*shapes, *placed(profile, x=x, y=y, scale=0.86, angle=rng.normal(0, 0.15))]


def _cat_profile(rng: np.random.Generator, shag: float) -> list[Shape]:
    tip = rng.uniform(-1.5, -1.2)
    far = pointed((0.0, -0.62), (0.42, tip + 0.08), (0.58, -0.45), 0.3)
    near = pointed((-0.62, -0.5), (-0.22, tip), (0.2, -0.6), 0.3)
    skull = smooth(
        [
            (0.0, -0.78),
            (0.5, -0.6),
            (0.78, -0.12),
            (1.0, 0.16),
            (0.96, 0.42),
            (0.6, 0.66),
            (0.0, 0.74),
            (-0.6, 0.5),
            (-0.78, -0.1),
        ]
        + [(-0.5, -0.62)]
    )
    shapes = [
        Shape(points=far, paint="coat", light=0.7),
        Shape(points=skull, paint="coat", tufts=shag * 1.4),
        Shape(points=near, paint="coat", light=0.92, tufts=shag),
        Shape(points=(near - near.mean(0)) * 0.55 + near.mean(0), paint=_PINK, light=0.8, rim=0.5),
        Shape(points=ellipse(0.76, 0.36, 0.26, 0.2), paint=_second(rng, 0.6), light=1.1, rim=0.2),
    ]
    shapes += _eye(0.48, -0.1, 0.17, 0.17, _either(rng, _EYES), (0.045, 0.15), 0.0)
    shapes.append(Shape(points=ellipse(0.99, 0.2, 0.08, 0.07), paint=_either(rng, _NOSES)))
    shapes.append(Shape(points=path([(0.98, 0.34), (0.84, 0.48), (0.64, 0.44)]), paint=_DARK, width=0.035))
    pale: Colour = (240, 238, 232) if rng.random() < 0.75 else (60, 56, 54)
    for i in range(3):
        line = path([(0.78, 0.36 + i * 0.05), (0.4, 0.42 + i * 0.14), (0.02, 0.42 + i * 0.24)])
        shapes.append(Shape(points=line, paint=pale, width=0.026))
    return shapes


def _dog_profile(rng: np.random.Generator, shag: float) -> list[Shape]:
    snout = rng.uniform(1.35, 1.85)
    stop = rng.uniform(-0.12, 0.1)
    skull = smooth(
        [
            (0.0, -0.74),
            (0.42, -0.58),
            (0.68, -0.1 + stop),
            (snout - 0.1, -0.02 + stop),
            (snout, 0.2),
            (snout - 0.14, 0.46),
        ]
        + [(0.7, 0.6), (0.2, 0.68), (-0.5, 0.56), (-0.74, -0.05), (-0.5, -0.58)]
    )
    shapes = []
    if rng.random() < 0.4:
        tongue = rotated(ellipse(0, 0.2, 0.12, 0.34), -0.2) + (snout - 0.45, 0.5)
        shapes.append(Shape(points=tongue, paint=_PINK))
    shapes.append(Shape(points=skull, paint="coat", tufts=shag * 1.2))
    shapes.append(
        Shape(
            points=ellipse((snout + 0.75) / 2, 0.28, (snout - 0.7) / 2, 0.24),
            paint=_second(rng, 0.6),
            light=1.05,
            rim=0.2,
        )
    )
    shapes += _eye(0.42, -0.16, 0.11, 0.11, _either(rng, _EYES), (0.07, 0.07), 0.0)
    shapes.append(Shape(points=ellipse(snout - 0.05, 0.06 + stop, 0.16, 0.14), paint=_either(rng, _NOSES)))
    shapes.append(Shape(points=path([(snout - 0.1, 0.36), (0.95, 0.46), (0.62, 0.36)]), paint=_DARK, width=0.05))
    light = rng.choice([0.62, 0.8, 0.95])
    form = rng.random()
    if form < 0.68:
        drop = rng.uniform(0.3, 1.0)
        ear = smooth([(-0.42, -0.62), (-0.02, -0.6), (0.12, -0.1), (0.02, drop), (-0.3, drop * 0.9), (-0.5, 0.0)])
    elif form < 0.88:
        ear = smooth([(-0.5, -0.5), (-0.36, -0.98), (0.0, -1.02), (0.36, -0.62), (0.28, -0.44), (-0.06, -0.5)])
    else:
        ear = pointed((-0.56, -0.45), (-0.3, -1.5), (0.12, -0.6), 0.35)
    shapes.append(Shape(points=ear, paint=_second(rng, 0.15), light=float(light), tufts=shag * 1.5, rim=0.4))
    return shapes
