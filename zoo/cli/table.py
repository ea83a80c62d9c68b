"""Aligned plain columns: readable for people, cut up by awk."""

from __future__ import annotations

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """Rows as text, columns two spaces apart; those in ``right`` end at the same place. ``-`` stands for nothing."""
    filled = [[cell or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in filled
    )


def extent(modality: str, size: Sequence[int]) -> str:
    """How large an input is: ``224x224``, ``256 tokens``, or what it is where it has no size."""
    if modality == "text" and size:
        return f"{size[0]} tokens"
    return "x".join(map(str, size[1:])) or modality


def count(number: int | None) -> str:
    """``25.6M``."""
    if number is None:
        return ""
    for limit, sign in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{sign}"
    return str(number)
