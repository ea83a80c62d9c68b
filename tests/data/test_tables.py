from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from zoo.data.tables import read_table
from zoo.paths import cache_dir
from zoo_registry.errors import DataError

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=8)


@quick
@given(
    rows=st.lists(st.tuples(cells, cells).filter(any), min_size=1, max_size=8), mark=st.sampled_from([",", ";", "\t"])
)
@example(rows=[('say "hi", twice', "two\nlines")], mark=",")
@example(rows=[("\u2028", "\x85")], mark=",")
def test_whatever_a_csv_writer_writes_is_read_back(tmp_path: Path, rows: list[tuple[str, str]], mark: str) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=mark, quoting=csv.QUOTE_ALL)
    writer.writerows([("first", "second"), *rows])
    table = read_table(write(tmp_path / "t.csv", file.getvalue()))
    assert list(zip(*table.columns.values(), strict=True)) == rows


@quick
@given(content=st.binary(max_size=80), suffix=st.sampled_from(["csv", "tsv", "jsonl", "parquet"]))
@example(content=b"a,b\n\x00,\x00\n", suffix="csv")
@example(content=b'{"a": ' + b"[" * 60, suffix="jsonl")
@example(content=b"PAR1" + b"\0" * 20 + b"PAR1", suffix="parquet")
def test_any_bytes_give_a_table_or_a_clear_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = write(tmp_path / f"t.{suffix}", content)
    try:
        table = read_table(path)
    except DataError as error:
        lengths, complaint, remedy = {0}, error.problem, error.remedy
    else:
        lengths, complaint, remedy = {len(table), *map(len, table.columns.values())}, str(path), "none needed"
    assert len(lengths) == 1
    assert str(path) in complaint
    assert remedy


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.csv", "a,b\n1,2\n1,2,3\n", "t.csv:3: the row has 3 fields, the header has 2"),
        ("t.csv", "a,b\n1\n", "t.csv:2: the row has 1 fields"),
        ("t.csv", 'a,b\n1,"2\n3,4\n', "t.csv:3"),
        ("t.csv", "a,a\n1,2\n", "column 'a' more than once"),
        ("t.csv", "a,b\n", "has no rows"),
        ("t.csv", "", "empty"),
        ("t.csv", "name\nJos\xe9\n".encode("latin-1"), "t.csv:2: the file is not UTF-8"),
        ("t.tsv", "a\tb\n1\t2\n".encode("utf-16"), "looks like UTF-16"),
        ("t.jsonl", '{"a": 1}\n\n{"a": \n', "t.jsonl:3"),
        ("t.jsonl", '{"a": 1}\n[1]\n', "t.jsonl:2: not a JSON object"),
        ("t.jsonl", "", "has no rows"),
        ("t.parquet", "PAR1 no", "no readable Parquet file"),
        ("t.xlsx", "x", "no table that zoo reads"),
    ],
)
def test_broken_tables_are_named_with_the_line(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path / name, content))
    assert expected in str(caught.value)
    assert caught.value.exit_code == 6
    assert caught.value.remedy


def test_separators_marks_and_line_ends_of_the_world(tmp_path: Path) -> None:
    expected = {"text": ["a, b", "c"], "label": ["1", "2"]}
    for content in ('\ufefftext;label\r\n"a, b";1\r\n\r\nc;2\r\n', 'text\tlabel\n"a, b"\t1\nc\t2'):
        assert read_table(write(tmp_path / "t.csv", content)).columns == expected
    assert read_table(write(tmp_path / "t.tsv", "text\tlabel\na, b\t1\nc\t2\n")).columns == expected


def test_a_row_knows_its_line(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", 'text,label\n"two\nlines",1\n\nlast,2\n'))
    assert [table.where(row) for row in range(2)] == [f"{tmp_path}/t.csv:3", f"{tmp_path}/t.csv:5"]


def test_very_long_fields_are_read(tmp_path: Path) -> None:
    assert len(read_table(write(tmp_path / "t.csv", f"text,label\n{'x' * 300_000},1\n")).columns["text"][0]) == 300_000


def test_jsonl_records_may_miss_fields(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "a", "label": ["x"]}), json.dumps({"text": "b", "more": 1.5})]
    columns = read_table(write(tmp_path / "t.jsonl", "\n".join(lines))).columns
    assert columns == {"text": ["a", "b"], "label": [["x"], None], "more": [None, 1.5]}


def test_parquet_keeps_types_and_class_names(tmp_path: Path) -> None:
    info = {
        "info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "text": {"dtype": "string"}}}
    }
    table = pyarrow.table({"text": ["a", "b"], "label": [0, 1], "many": [["x"], []]})
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read.columns == {"text": ["a", "b"], "label": [0, 1], "many": [["x"], []]}
    assert read.class_names == {"label": ["cat", "dog"]}


def test_images_inside_a_parquet_file_become_files_once(tmp_path: Path) -> None:
    items = [{"bytes": b"img%d" % i, "path": f"{i}.jpg"} for i in range(600)]
    items[7] = {"bytes": None, "path": None}
    table = pyarrow.table({"image": items, "raw": [b"x%d" % i for i in range(600)], "label": list(range(600))})
    parquet.write_table(table, tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    paths = read.columns["image"]
    assert paths[7] is None
    assert Path(paths[599]).read_bytes() == b"img599"
    assert Path(read.columns["raw"][0]).read_bytes() == b"x0"
    stamp = Path(paths[0]).stat().st_ino
    assert read_table(tmp_path / "t.parquet").columns == read.columns
    assert Path(paths[0]).stat().st_ino == stamp
    assert Path(paths[0]).stat().st_mtime_ns == (tmp_path / "t.parquet").stat().st_mtime_ns
    assert len(list((cache_dir() / "media").iterdir())) == 1
