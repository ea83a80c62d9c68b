"""A small stand-in for SST-2 that needs no network: sentences put together from templates.

It is there to see the commands work and says nothing about real reviews: opinions follow from single words.
"""

from __future__ import annotations

import csv
import os
import random
from pathlib import Path

SIZES = {"train": 800, "val": 200}

_OPINIONS = {
    "positive": ("moving", "witty", "gripping", "charming", "inventive", "tender", "thrilling", "a small triumph"),
    "negative": ("tedious", "clumsy", "hollow", "predictable", "lifeless", "shrill", "forgettable", "a dull mess"),
}
_TEMPLATES = (
    "the {thing} is {degree} {opinion}",
    "{degree} {opinion} from the first scene to the last",
    "for once a {kind} whose {thing} feels {opinion}",
    "its {thing} , {degree} {opinion} , carries the whole {kind}",
    "i went for the {thing} and found it {opinion}",
    "few would call the {thing} of this {kind} {opposite} ; it is {opinion}",
    "what could have been {opposite} turns out {opinion}",
)
_THINGS = ("plot", "cast", "dialogue", "camera work", "score", "ending", "direction", "leading pair")
_KINDS = ("comedy", "drama", "thriller", "documentary", "romance", "western")
_DEGREES = ("truly", "rather", "utterly", "quietly", "surprisingly")


def write_sst2(folder: Path) -> None:
    """Write ``train.csv`` and ``val.csv`` with the columns text and label; the same at every call."""
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for split, size in SIZES.items():
        draw = random.Random(f"sst2 {split}")
        rows: list[tuple[str, str]] = []
        while len(rows) < size:
            label = ("negative", "positive")[len(rows) % 2]
            text = _sentence(draw, label)
            if text not in taken:
                taken.add(text)
                rows.append((text, label))
        draft = folder / f".{split}.{os.getpid()}.tmp"
        with draft.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        draft.replace(folder / f"{split}.csv")


def _sentence(draw: random.Random, label: str) -> str:
    other = "positive" if label == "negative" else "negative"
    return draw.choice(_TEMPLATES).format(
        thing=draw.choice(_THINGS),
        kind=draw.choice(_KINDS),
        degree=draw.choice(_DEGREES),
        opinion=draw.choice(_OPINIONS[label]),
        opposite=draw.choice(_OPINIONS[other]),
    )
