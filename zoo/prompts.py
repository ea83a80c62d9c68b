"""Class names as captions, for a text tower that has read captions and not words. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from zoo_registry.errors import DataError, UsageError

PICTURE_TEMPLATES: tuple[str, ...] = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a bad photo of a {}.",
    "a photo of a small {}.",
    "a photo of a large {}.",
    "a drawing of a {}.",
    "a {}.",
)
"""After Radford et al., "Learning transferable visual models from natural language supervision" (2021), section 3.1.4:
the mean over several sentences guesses better than any one of them. Theirs are 80, these are a few for any picture."""

SOUND_TEMPLATES: tuple[str, ...] = ("the sound of a {}.", "a recording of a {}.", "this is a sound of {}.", "{}.")
"""After Elizalde et al., "CLAP: learning audio concepts from natural language supervision" (2023)."""

TEMPLATES = {"image": PICTURE_TEMPLATES, "audio": SOUND_TEMPLATES}
"""By what is classified."""

BARE = ("{}.",)
"""For what there are no other templates."""

PLACE = "{}"
ARTICLE = re.compile(r"^(?:an?|the) (?=\S)", re.IGNORECASE)
_WORD = r"(?!of |in |on |at |by |for |from |with |and |or )[\w'-]+ "
HAS_ARTICLE = re.compile(rf"\b(?:an?|the) (?:{_WORD}){{0,3}}\{{\}}", re.IGNORECASE)
"""A place that has its article already, whatever adjectives stand between."""


def spoken(label: str) -> str:
    """A class name as a caption has it: ``"maine_coon"`` -> ``"maine coon"``; what is only signs stays as it is."""
    return " ".join(re.sub(r"[_\-]+", " ", label).split()) or label


def sentences(label: str, templates: Sequence[str]) -> list[str]:
    """The class name in each template. ``"a cat"`` loses its article where the template has one.

    Raises:
        UsageError: as :func:`check_templates`.
    """
    check_templates(templates)
    name = spoken(label)
    bare = ARTICLE.sub("", name)
    return [one.replace(PLACE, bare if HAS_ARTICLE.search(one) else name) for one in templates]


def check_templates(templates: Sequence[str]) -> None:
    """Raise UsageError where there is none, or one has no ``{}``."""
    if not templates:
        raise UsageError("There are no templates.", "Give one such as 'a photo of a {}.', or leave them out.")
    for template in templates:
        if PLACE not in template:
            raise UsageError(
                f"The template {template!r} has no place for a class name.", "Write {} where the name goes."
            )


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels to choose between, without the spaces around them.

    Raises:
        UsageError: fewer than two, an empty one, or two that are the same.
    """
    found = tuple(label.strip() for label in labels)
    if not all(found):
        raise UsageError("One of the labels is empty.", "Give a name for each: --labels 'a cat,a dog'")
    if len(found) < 2:
        raise UsageError(
            f"There {'is only one label' if found else 'are no labels'} to choose from.",
            "Give two or more: --labels 'a cat,a dog'",
        )
    seen: dict[str, str] = {}
    for label in found:
        key = spoken(label).casefold()
        if key in seen:
            same = (
                f"{label!r} twice" if seen[key] == label else f"{seen[key]!r} and {label!r}, which are the same words"
            )
            raise UsageError(f"The labels name {same}.", "Give each label once.")
        seen[key] = label
    return found


def read_labels(text: str) -> tuple[str, ...]:
    """Labels of the command line: names divided by commas, or ``@FILE`` with a name on each line.

    Raises:
        DataError: the file cannot be read.
        UsageError: as :func:`check_labels`.
    """
    if not text.startswith("@"):
        return check_labels(text.split(","))
    try:
        lines = Path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise DataError(f"The labels {text[1:]} cannot be read: {why}.", "Give a text file, a label a line.") from None
    return check_labels([line for line in lines if line.strip()])
