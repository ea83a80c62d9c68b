"""A word-level tokenizer of 50 tokens and one tiny configuration of each family of networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from text_toys import write_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tiny tokenizer."""
    return write_tokenizer(tmp_path / "assets")
