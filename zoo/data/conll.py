"""CoNLL files: a word and its tag a line, a blank line between sentences."""

from __future__ import annotations

import re
from pathlib import Path

from zoo.data.items import shorten
from zoo.data.tables import RawTable, line_limit, lines_of, read_text
from zoo_registry.errors import DataError

SUFFIXES = (".conll", ".conll03", ".conll2003", ".bio", ".iob", ".iob2")
_HEAD = 65_536
_MOST = 0.9


def read_conll(path: Path) -> RawTable:
    """The sentences of a CoNLL file as columns ``tokens`` and ``tags``, both lists of str.

    The word is the first field of a line and its tag the last, divided by tabs, or by spaces where the first line of a
    sentence has no tab. Lines of nothing but white space divide sentences. ``-DOCSTART-`` lines are skipped, and so are
    comments before a sentence: ``# id 7``, with another number of fields than the words' lines.

    Raises:
        DataError: a word without a tag, a tag without a word, no sentence, not UTF-8; with ``file:line``.
    """
    line_limit(path)
    lines = [line.strip("\r\n") for line in lines_of(read_text(path))]
    tabs = _has_tabs(lines)
    fields = _usual_fields(lines, tabs)
    sentences: list[tuple[list[str], list[str]]] = []
    numbers: list[int] = []
    open_sentence = False
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            open_sentence = False
            continue
        parts = _split(line, tabs)
        if not open_sentence and line.startswith("#") and len(parts) != fields:
            continue
        word, tag = parts[0], parts[-1].strip()
        if len(parts) < 2 or not tag:
            raise DataError(
                f"{path}:{number}: the word {shorten(line.strip())!r} has no tag.",
                "Each line holds a word and its tag, divided by a tab or a space.",
            )
        if not word.strip():
            raise DataError(f"{path}:{number}: the tag {shorten(tag)!r} has no word.", "Complete or remove the line.")
        if not open_sentence:
            sentences.append(([], []))
            numbers.append(number)
            open_sentence = True
        sentences[-1][0].append(word)
        sentences[-1][1].append(tag)
    columns = {"tokens": [words for words, _ in sentences], "tags": [tags for _, tags in sentences]}
    return RawTable(path, columns, numbers, word_lines=True)


def looks_like_conll(path: Path) -> bool:
    """True if the beginning of a text file is lines of equally many fields, a word in the first and a tag in the last,
    and blank lines; a few faulty lines do not matter, so that reading can name them."""
    with open(path, "rb") as file:
        head = file.read(_HEAD).decode("utf-8", "replace")
    lines = lines_of(head)
    lines = lines[:-1] if len(head) >= _HEAD else lines
    tabs, fields = _has_tabs(lines), _usual_fields(lines, _has_tabs(lines))
    rows = [_split(line, tabs) for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    good = sum(len(row) == fields > 1 and not re.search(r"\s", (row[0] + row[-1]).strip()) for row in rows)
    return bool(rows) and good >= _MOST * len(rows) and not all(line.strip() for line in lines)


def _has_tabs(lines: list[str]) -> bool:
    first = next((line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))), "")
    return "\t" in first.strip()


def _split(line: str, tabs: bool) -> list[str]:
    # Only spaces and tabs divide: a word may hold a no-break space.
    return line.split("\t") if tabs else re.split(r"[ \t]+", line.strip(" \t"))


def _usual_fields(lines: list[str], tabs: bool) -> int:
    return next((len(_split(x, tabs)) for x in lines if x.strip() and not x.startswith(("#", "-DOCSTART-"))), 2)
