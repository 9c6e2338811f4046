"""One row that can't be read is a bad row: it neither ends a run that may go on, nor is scored as something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predictd.testing import FakeModel, FakeServer, fake_server
from predictd_celery import score
from predictd_proto.errors import ConfigError, ScoreError
from tests.celery.scoring.scored_files import WIDTH


def same(name: str, dtype: str, *axes: int | None) -> FakeModel:
    """Return a model that gives back what it gets."""
    shape = (dtype, (None, *axes))
    return FakeModel(name, inputs={"x": shape}, outputs={"y": shape}, answer=lambda x: x)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    models = [same(dtype, dtype, 1) for dtype in ("int32", "uint8", "int64", "uint64", "float32", "string")]
    with fake_server(*models, same("free", "float32", None), same("three", "float32", WIDTH)) as found:
        yield found


def scored(model: str, path: Path, **words: Any) -> tuple[list[Any], list[str]]:
    """Return a .jsonl or .parquet file's answers, None for bad rows, and why these are bad."""
    out = path.parent / "out"
    score(model, path, out, on_error="null", progress=0, **words)
    if path.suffix == ".parquet":
        answers = pq.read_table(out / path.name).column("y").to_pylist()
    else:
        answers = [json.loads(line) for line in (out / path.name).read_text().splitlines()]
    return answers, json.loads((out / "manifest.json").read_text())["bad_rows"]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int32", 3_000_000_000), ("uint8", 300), ("uint8", -1), ("int64", 2**63), ("uint64", 2**64), ("uint64", -1)],
)
def test_a_whole_number_out_of_range_is_a_bad_row(server: FakeServer, tmp_path: Path, dtype: str, value: int) -> None:
    (tmp_path / "a.jsonl").write_text(f"[7]\n[{value}]\n")
    answers, [why] = scored(dtype, tmp_path / "a.jsonl")
    assert answers == [[7], None]
    assert why.startswith("a.jsonl:2: expected numbers from ")
    assert f"got {value}" in why


@pytest.mark.parametrize("field", ["300", "-1", "1.5", "2e1", "1.", "nan"])
def test_nor_does_a_line_of_csv_become_another_number(server: FakeServer, tmp_path: Path, field: str) -> None:
    (tmp_path / "a.csv").write_text(f"7\n{field}\n255\n")
    score("uint8", tmp_path / "a.csv", tmp_path / "out", on_error="skip", header="no", progress=0)
    assert (tmp_path / "out" / "a.csv").read_text().split() == ["y", "7", "255"]


@pytest.mark.parametrize("value", [np.iinfo("int64").min, np.iinfo("int64").max])
def test_the_ends_of_a_range_are_in_it(server: FakeServer, tmp_path: Path, value: int) -> None:
    (tmp_path / "a.jsonl").write_text(f"[{value}]\n")
    assert scored("int64", tmp_path / "a.jsonl") == ([[value]], [])


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet"])
def test_nor_is_it_cast_where_a_file_has_larger_numbers(server: FakeServer, tmp_path: Path, suffix: str) -> None:
    path, values = tmp_path / f"a.{suffix}", np.array([7, 300, 9, -1])
    if suffix == "npy":
        np.save(path, values)
    elif suffix == "npz":
        np.savez(path, x=values)
    else:
        pq.write_table(pa.table({"x": values}), path)
    with pytest.raises(ScoreError, match=rf"a\.{suffix}, row 2: a number out of the range of uint8"):
        score("uint8", path, tmp_path / "stop", progress=0)
    score("uint8", path, tmp_path / "out", on_error="skip", progress=0)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["outputs"][path.name]["rows"] == 2


@pytest.mark.parametrize(
    "value",
    [
        "[null]",
        '{"x": {"a": 1}}',
        '[{"a": 1}]',
        "[1]",
        '["a", "b"]',
        '["\\ud800"]',
        "null",
        "[" * 5000 + "]" * 5000,
        "[" * 70 + "]" * 70,
        "\x00",
    ],
    ids=["null", "object", "object in a list", "number", "two", "surrogate", "nothing", "deep", "70 deep", "control"],
)
@pytest.mark.parametrize("model", ["string", "float32", "int32"])
def test_one_odd_line_leaves_the_others(server: FakeServer, tmp_path: Path, model: str, value: str) -> None:
    good = '["\\u00e9"]' if model == "string" else "[1]"
    value = '["a"]' if (model, value) in {("float32", "[1]"), ("int32", "[1]")} else value
    (tmp_path / "a.jsonl").write_text(f"{good}\n{value}\n{good}\n")
    answers, [why] = scored(model, tmp_path / "a.jsonl")
    assert answers[1] is None
    assert answers[0] == answers[2] == json.loads(good)
    assert why.startswith("a.jsonl:2: ")


@pytest.mark.parametrize("row", [[1.0, None, 3.0], None, [1.0], [1.0] * 4, []])
def test_a_list_in_parquet_with_a_null_or_too_few_is_a_bad_row(server: FakeServer, tmp_path: Path, row: Any) -> None:
    good = [1.0, 2.0, 3.0]
    pq.write_table(pa.table({"x": pa.array([good, row, good], pa.list_(pa.float64()))}), tmp_path / "a.parquet")
    answers, [why] = scored("three", tmp_path / "a.parquet", chunk_rows=2)
    assert answers == [good, None, good]
    assert why.startswith("a.parquet, row 2: ")


def test_nested_lists_of_parquet_and_their_nulls(server: FakeServer, tmp_path: Path) -> None:
    kind = pa.list_(pa.list_(pa.float32()))
    rows = [[[1], [2], [3]], [[1], None, [3]], [[1], [2, 3]], [[1, 2, 3]], [[1], [None], [3]]]
    pq.write_table(pa.table({"x": pa.array(rows, kind)}), tmp_path / "a.parquet")
    answers, bad = scored("three", tmp_path / "a.parquet")
    assert answers == [[1, 2, 3], None, None, [1, 2, 3], None]
    assert [one.partition(": ")[0] for one in bad] == [f"a.parquet, row {row}" for row in (2, 3, 5)]


def test_columns_that_are_no_input_are_still_refused(server: FakeServer, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [[1.0]], "b": [[1.0]], "c": [[1.0]]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="expected one column of lists, or columns of one number each"):
        score("three", tmp_path / "a.parquet", tmp_path / "out", progress=0)


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_rows_of_an_open_length_have_the_first_one_s(server: FakeServer, tmp_path: Path, chunk_rows: int) -> None:
    lines = ["null", "[1, 2]", "[3]", "[4, 5]", "[6, 7, 8]", "[9, 10]"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    answers, bad = scored("free", tmp_path / "a.jsonl", chunk_rows=chunk_rows)
    assert answers == [None, [1, 2], None, [4, 5], None, [9, 10]]
    assert "a row of shape [[1]], expected [[2]] as in the file's first good row" in bad[1]


@pytest.mark.parametrize("line", ['1,2,"3', '"1,2,3', '1,2,"3""'])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_open_quote_is_a_bad_row(server: FakeServer, tmp_path: Path, line: str, place: int) -> None:
    lines = ['"1",2,3', '1,"2",3', '1,2,"3"']
    lines.insert(place, line)
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(ScoreError, match=rf"a\.csv:{place + 1}: expected 3 numbers .*a quote that does not end"):
        score("three", tmp_path / "a.csv", tmp_path / "stop", progress=0)
    assert score("three", tmp_path / "a.csv", tmp_path / "out", on_error="skip", progress=0).bad_rows == 1
    assert (tmp_path / "out" / "a.csv").read_text().splitlines()[1:] == ["1.0,2.0,3.0"] * 3


def test_a_first_line_of_another_width_is_a_bad_row(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n1,2,3\n")
    report = score("three", tmp_path / "a.csv", tmp_path / "out", on_error="skip", progress=0)
    assert (report.rows, report.bad_rows) == (2, 1)
