"""What ``zoo predict`` is given for a text model, as the model's items: texts, files of texts, standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.data.columns import recognise
from zoo.data.conll import SUFFIXES as CONLL
from zoo.data.layouts import recognise_task, task_items
from zoo.data.tables import SUFFIXES as TABLES
from zoo.data.tables import RawTable, lines_of, read_table
from zoo_registry.errors import DataError, UsageError

FILES = frozenset((*TABLES, *CONLL, ".txt", ".json"))
STDIN = "-"


def arguments(given: Sequence[str]) -> list[str | Path]:
    """Command line arguments, those that are files as paths; ``-`` stands for itself, anything else is a text.

    Raises:
        DataError: an argument that looks like a file, and is none that holds texts.
    """
    return [_argument(one) for one in given]


def text_items(inputs: Sequence[Any], task: str, *, pair: str | None = None, column: str | None = None) -> list[Any]:
    """Inputs as items of a text model.

    Args:
        inputs: texts; items (tuples, lists of words, questions); paths of .txt files (a text a line) and tables;
            ``Path("-")`` for the lines of standard input. Blank lines of files are passed over.
        task: of the model.
        pair: the second text of each text that comes alone: of a pair, or the context of a question.
        column: of tables, where the text is; None: as it is recognised.

    Raises:
        UsageError: a question without a context.
        DataError: a file that cannot be read, or has no such column.
    """
    items: list[Any] = []
    for one in inputs:
        if isinstance(one, Path):
            items += _of_stdin() if str(one) == STDIN else _of_file(one, task, column)
        else:
            items.append(one)
    if pair is not None:
        items = [(item, pair) if isinstance(item, str) else item for item in items]
    return [_question(item, number) for number, item in enumerate(items)] if task == "question-answering" else items


def shown_input(item: Any) -> Any:
    """An item as predictions name it: the text, a list of texts or words, the question."""
    if isinstance(item, Mapping):
        return item.get("question")
    return list(item) if isinstance(item, list | tuple) else item


def _argument(text: str) -> str | Path:
    path = Path(text)
    if text == STDIN:
        return path
    known = path.suffix.lower() in FILES
    try:
        exists = path.exists()
    except (OSError, ValueError):  # longer than a name may be, or with a NUL in it
        exists = False
    # A word may happen to be the name of a folder here; what has an ending or a slash was meant as a path.
    if exists and (path.suffix or os.sep in text):
        if not known or path.is_dir():
            endings = ", ".join(sorted(FILES))
            raise DataError(f"{text} is no file of texts.", f"Give texts, or files that end in {endings}.")
        return path
    if known:
        raise DataError(
            f"{text} does not exist.", "Check the path. Texts that end so can come through standard input: -"
        )
    return text


def _of_stdin() -> list[str]:
    return [line for line in lines_of(sys.stdin.read()) if line.strip()]


def _of_file(path: Path, task: str, column: str | None) -> list[Any]:
    if not path.is_file():
        raise DataError(f"{path} does not exist.", "Check the path.")
    table = read_table(path)
    if column is None and task in ("question-answering", "token-classification", "generation"):
        found = _of_task(table, task)
        if found is not None:
            return found
    overrides = {"input": column} if column else {}
    columns = recognise(table, modality="text", overrides=overrides, bases=(), labelled=False)
    items = task_items(table, columns)
    return [item[0] if isinstance(item, tuple) and task in ("embedding", "generation") else item for item in items]


def _of_task(table: RawTable, task: str) -> list[Any] | None:
    """The items of a table of that task; of prompts with completions the prompts alone. None where it is none."""
    try:
        columns = recognise_task(table, task=task, overrides={})
    except DataError:
        if task == "question-answering":
            raise
        return None
    if columns is None:
        return None
    return [item[0] if isinstance(item, tuple) else item for item in task_items(table, columns)]


def _question(item: Any, number: int) -> Any:
    if isinstance(item, tuple) and len(item) == 2:
        return {"id": str(number), "question": item[0], "context": item[1]}
    if isinstance(item, str):
        raise UsageError(
            "A question takes a context, in which its answer is looked for.",
            "Add --pair TEXT, or give a table with question and context.",
        )
    return item
