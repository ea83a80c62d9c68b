"""Class names in sentences, and labels as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.prompts import TEMPLATES, check_labels, read_labels, sentences
from zoo_registry.errors import DataError, UsageError


def test_names_become_words() -> None:
    assert sentences("maine_coon", ("a photo of a {}.", "{}")) == ["a photo of a maine coon.", "maine coon"]
    assert sentences("--", ("{}",)) == ["--"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a photo of a {}.", "a photo of a cat."),
        ("a photo of {}.", "a photo of a cat."),
        ("a photo of the small grey {}", "a photo of the small grey cat"),
        ("{}", "a cat"),
        ("{} on the sofa", "a cat on the sofa"),
        ("the sofa with {}", "the sofa with a cat"),
    ],
)
def test_an_article_is_written_once(template: str, expected: str) -> None:
    assert sentences("a cat", (template,)) == [expected]
    assert sentences("another cat", ("a {}",)) == ["a another cat"]  # which is no article


def test_default_templates_have_a_place() -> None:
    for templates in TEMPLATES.values():
        assert len(sentences("x", templates)) == len(set(templates)) == len(templates)


def test_templates_without_a_place() -> None:
    with pytest.raises(UsageError, match="'a photo' has no place"):
        sentences("cat", ("{}", "a photo"))
    with pytest.raises(UsageError, match="no templates"):
        sentences("cat", ())


def test_labels_of_the_command_line(tmp_path: Path) -> None:
    assert read_labels("a cat, a dog") == ("a cat", "a dog")
    file = tmp_path / "labels.txt"
    file.write_text("a cat, sitting\n\n a dog\n")
    assert read_labels(f"@{file}") == ("a cat, sitting", "a dog")
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(f"@{tmp_path / 'none.txt'}")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_labels(f"@{file}")


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (["cat", "dog", "cat"], "'cat' twice"),
        (["bar_code", "Bar code"], "the same words"),
        (["cat", " "], "empty"),
        (["cat"], "only one label"),
        ([], "no labels"),
    ],
)
def test_labels_that_make_no_sense(labels: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        check_labels(labels)
