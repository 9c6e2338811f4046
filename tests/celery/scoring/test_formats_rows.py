"""Each format, for any rows: they come back one to one, in order, whatever the chunks; so do the bad ones."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from predictd_celery.scoring.formats.spans import Limits
from predictd_proto.tensors import TensorSpec
from tests.celery.scoring.format_rows import rows_of, values_of

WIDTH = 2
FLOATS = st.floats(width=32)
TABLES = st.lists(st.lists(FLOATS, min_size=WIDTH, max_size=WIDTH), max_size=12)
LIMITS = st.builds(Limits, st.integers(1, 13), st.integers(1, 300))
PAIR = TensorSpec("x", "float32", (None, WIDTH))
FREE = TensorSpec("x", "float32", (None, None))
TEXTS = TensorSpec("x", "string", (None, None))
#: Cells as files have them, good and bad; the same text stands for the same cell in each chunk.
FIELDS = st.sampled_from(["1", "2.5", " 3 ", "nan", "", "five", '"6"', '"7', "8,9", "\u0663"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-9, 9, width=32) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=6,
)


def _npy(path: Path, table: np.ndarray) -> None:
    np.save(path, table)


def _fortran(path: Path, table: np.ndarray) -> None:
    np.save(path, np.asfortranarray(table))


def _npz(path: Path, table: np.ndarray) -> None:
    np.savez(path, x=table)


def _fortran_npz(path: Path, table: np.ndarray) -> None:
    np.savez(path, other=np.zeros(len(table)), x=np.asfortranarray(table))


def _packed_npz(path: Path, table: np.ndarray) -> None:
    np.savez_compressed(path, x=table, other=np.zeros(len(table)))


def _packed_fortran_npz(path: Path, table: np.ndarray) -> None:
    np.savez_compressed(path, x=np.asfortranarray(table))


def _csv(path: Path, table: np.ndarray) -> None:
    path.write_text("".join(",".join(row) + "\n\n" for row in table.astype(str)))


def _headed_csv(path: Path, table: np.ndarray) -> None:
    lines = ["a,b", *(",".join(row) for row in table.astype(str))]
    path.write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())


def _jsonl(path: Path, table: np.ndarray) -> None:
    path.write_text("\n".join(json.dumps(row) + "\n" for row in table.tolist()))


def _columns(path: Path, table: np.ndarray) -> None:
    pq.write_table(pa.table({name: table[:, place] for place, name in enumerate("ab")}), path, row_group_size=5)


def _lists(path: Path, table: np.ndarray) -> None:
    pq.write_table(pa.table({"x": pa.array(table.tolist(), pa.list_(pa.float32()))}), path, row_group_size=5)


def _fixed_lists(path: Path, table: np.ndarray) -> None:
    column = pa.array(table[:, :, np.newaxis].tolist(), pa.list_(pa.list_(pa.float32(), 1), WIDTH))
    pq.write_table(pa.table({"x": column}), path, row_group_size=5)


WRITERS: list[tuple[str, Callable[[Path, np.ndarray], None]]] = [
    ("npy", _npy),
    ("npy", _fortran),
    ("npz", _npz),
    ("npz", _fortran_npz),
    ("npz", _packed_npz),
    ("npz", _packed_fortran_npz),
    ("csv", _csv),
    ("csv", _headed_csv),
    ("jsonl", _jsonl),
    ("parquet", _columns),
    ("parquet", _lists),
    ("parquet", _fixed_lists),
]


@pytest.mark.parametrize(("suffix", "write"), WRITERS, ids=[write.__name__[1:] for _, write in WRITERS])
@settings(max_examples=15, deadline=None)
@given(table=TABLES, limits=LIMITS)
def test_rows_come_back_one_to_one(suffix: str, write: Callable, table: list, limits: Limits) -> None:
    array = np.array(table, np.float32).reshape(-1, WIDTH)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, f"a.{suffix}")
        write(path, array)
        rows = rows_of(path, Limits(limits.rows, limits.byte_count, "yes" if write is _headed_csv else "no"), PAIR)
    found = np.array([row[0] for row in rows], np.float32).reshape(-1, WIDTH)
    np.testing.assert_array_equal(found, array)


def _alike(path: Path, limits: Limits, *specs: TensorSpec) -> list[Any]:
    whole = rows_of(path, Limits(10**6, 10**9), *specs)
    # As JSON, in which NaN is like NaN.
    assert json.dumps(rows_of(path, limits, *specs)) == json.dumps(whole)
    return whole


@pytest.mark.parametrize("spec", [PAIR, FREE], ids=["fixed", "free"])
@settings(max_examples=40, deadline=None)
@given(lines=st.lists(st.lists(FIELDS, max_size=3), min_size=1, max_size=8), limits=LIMITS)
def test_bad_lines_of_csv_are_the_same_whatever_the_chunks(spec: TensorSpec, lines: list, limits: Limits) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "a.csv")
        path.write_text("\n".join(["1,2", *map(",".join, lines)]))
        found = values_of(_alike(path, limits, spec))
    assert found[0] == [1, 2]
    assert len(found) == 1 + sum(bool(",".join(line).strip()) for line in lines)


@pytest.mark.parametrize(
    "spec",
    [PAIR, FREE, TEXTS, TensorSpec("x", "uint64", (None, None)), TensorSpec("x", "bool", (None, 1))],
    ids=["fixed", "free", "texts", "uint64", "bool"],
)
@settings(max_examples=40, deadline=None)
@given(values=st.lists(VALUES, max_size=8), limits=LIMITS)
def test_bad_lines_of_jsonl_are_the_same_whatever_the_chunks(spec: TensorSpec, values: list, limits: Limits) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "a.jsonl")
        path.write_text("".join(json.dumps(value) + "\n" for value in values))
        assert len(_alike(path, limits, spec)) == len(values)


@pytest.mark.parametrize("spec", [PAIR, FREE], ids=["fixed", "free"])
@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.none() | st.lists(st.none() | st.floats(-9, 9, width=32), max_size=3), max_size=12),
    limits=LIMITS,
)
def test_bad_lists_of_parquet_are_the_same_whatever_the_chunks(spec: TensorSpec, rows: list, limits: Limits) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "a.parquet")
        pq.write_table(pa.table({"x": pa.array(rows, pa.list_(pa.float32()))}), path, row_group_size=5)
        found = values_of(_alike(path, limits, spec))
    clean = [row if row is not None and None not in row else None for row in rows]
    width = WIDTH if spec is PAIR else len(next((row for row in clean if row is not None), []))
    assert found == [row if row is not None and len(row) == width else None for row in clean]


@pytest.mark.parametrize("axes", [(None, None), (3, None), (4, 5)], ids=["free", "half", "fixed"])
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.none() | st.tuples(st.integers(3, 4), st.integers(3, 4)), min_size=1, max_size=6))
def test_images_are_the_same_whatever_the_chunks(axes: tuple, sizes: list) -> None:
    spec = TensorSpec("x", "float32", (None, *axes, 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "photos")
        folder.mkdir()
        for place, size in enumerate(sizes):
            if size is None:
                (folder / f"{place}.png").write_bytes(b"broken")
            else:
                Image.new("L", size[::-1], place).save(folder / f"{place}.png")
        found = values_of(_alike(folder, Limits(2, 1), spec))
    first = next((size for size in sizes if size is not None), (0, 0))
    wanted = tuple(axis or own for axis, own in zip(axes, first, strict=True))
    is_good = [size is not None and (None not in axes or size == wanted) for size in sizes]
    expected = [np.full((*wanted, 1), place).tolist() if good else None for place, good in enumerate(is_good)]
    assert found == expected
