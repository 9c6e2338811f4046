""".parquet: a column for each input, or columns of numbers that make up the one input.

Owns reading and writing them, through pyarrow (the extra `parquet`). Any thread.

A row group is decoded as a whole: pyarrow can't begin in the middle of one. The last two are kept, so that the chunks
of one are not decoded again and again; that is what a reader holds in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.scoring.formats.arrow_columns import is_list, is_text, leaves_of, list_shapes, null_rows
from predictd_celery.scoring.formats.extras import needed
from predictd_celery.scoring.formats.shaping import RowShapes, has_free_axis, only_input, row_shape, unlike_first
from predictd_celery.scoring.formats.spans import Limits, Scan, Source, Span, digest_of_file, even_spans
from predictd_celery.scoring.rows import BadRow, Rows
from predictd_proto.errors import ConfigError, PredictdError
from predictd_proto.tensors import TensorSpec

_KEPT_GROUPS = 2
_lock = threading.Lock()


def scan(source: Source, limits: Limits) -> Scan:
    """Return a file's digest and chunks; none reaches over the end of a row group.

    Raises:
        ConfigError: It is no such file, or pyarrow is not there.
    """
    spans: list[Span] = []
    with _opened(source) as file:
        first = 0
        for group in range(file.metadata.num_row_groups):
            head = file.metadata.row_group(group)
            for span in even_spans(head.num_rows, head.total_byte_size / max(head.num_rows, 1), limits):
                # The group's number and the row within it, where other formats have places in bytes.
                spans.append(Span(first + span.first_row, span.rows, span.first_row, 0, group))
            first += head.num_rows
    return Scan(*digest_of_file(Path(source.path)), tuple(spans))


def read(source: Source, span: Span, specs: Sequence[TensorSpec]) -> Rows:
    """Return the rows of one chunk.

    Those with a null in them are bad, and those with lists of other lengths than the model takes; where it leaves a
    length open, all have that of the file's first good row.

    Raises:
        ConfigError: The columns are not those of the model's inputs.
    """
    stamp = source.stamp()
    table = _row_group(source, span.line, stamp).slice(span.offset, span.rows)
    source.check_rows(table.num_rows, span)
    first = _first_shapes(source, tuple(specs), stamp) if has_free_axis(specs) else None
    judged = _judged(table, specs, source.name)
    reasons = [one if isinstance(one, str) else unlike_first(one, first) for one in judged]
    good = [row for row, reason in enumerate(reasons) if not reason]
    place = f"{source.name}, row "
    bad = tuple(BadRow(row, f"{place}{span.first_row + row + 1}", why) for row, why in enumerate(reasons) if why)
    arrays = {}
    if good:
        kept = table.take(good) if bad else table
        columns = _columns(table.column_names, specs, source.name)
        # Of one shape: the signature's, or the first row's.
        shapes: Any = judged[good[0]]
        arrays = {name: _array(kept, columns[name], shape, source.name) for name, shape in shapes.items()}
    return Rows(span.rows, arrays, bad, (source.name, span.first_row))


def _opened(source: Source) -> Any:
    parquet = needed("pyarrow.parquet", "parquet", source.name)
    try:
        return parquet.ParquetFile(source.path)
    except Exception as error:
        raise _broken(source, error) from error


def _row_group(source: Source, group: int, stamp: tuple[int, int]) -> Any:
    with _lock:
        return _decoded(source, group, stamp)


@lru_cache(maxsize=_KEPT_GROUPS)
def _decoded(source: Source, group: int, stamp: tuple[int, int]) -> Any:
    del stamp  # a file that was replaced is another one
    with _opened(source) as file:
        try:
            return file.read_row_group(group, use_threads=False)
        except Exception as error:
            raise _broken(source, error) from error


def _broken(source: Source, error: Exception) -> Exception:
    """Return what is raised for pyarrow's own errors, of which broken pages and heads bring several."""
    if isinstance(error, PredictdError) or (isinstance(error, OSError) and error.errno):
        return error
    return ConfigError(f"{source.name}: expected a .parquet file: {error}")


@lru_cache(maxsize=8)
def _first_shapes(source: Source, specs: tuple[TensorSpec, ...], stamp: tuple[int, int]) -> RowShapes | None:
    with _opened(source) as file:
        groups = file.metadata.num_row_groups
    for group in range(groups):
        for shapes in _judged(_row_group(source, group, stamp), specs, source.name):
            if not isinstance(shapes, str):
                return shapes
    return None


def _columns(held: Sequence[str], specs: Sequence[TensorSpec], name: str) -> dict[str, list[str]]:
    if all(spec.name in held for spec in specs):
        return {spec.name: [spec.name] for spec in specs}
    return {only_input(specs, name).name: list(held)}


def _judged(table: Any, specs: Sequence[TensorSpec], name: str) -> list[RowShapes | str]:
    """Return of each row the shapes that it gives the inputs, or why it is bad."""
    why: dict[int, str] = {}
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for spec in specs:
        columns = _columns(table.column_names, specs, name)[spec.name]
        if not any(is_list(table.column(column).type) for column in columns):
            for column in columns:
                why |= dict.fromkeys(null_rows(table.column(column)), f"column {column!r} is null")
            shape = (len(columns),) if len(columns) > 1 else ()
            shapes[spec.name] = [row_shape(shape, spec, name)] * table.num_rows
            continue
        if len(columns) > 1:
            message = f"{name}: expected one column of lists, or columns of one number each, got {columns}"
            raise ConfigError(message)
        shapes[spec.name], wrong = _judged_lists(table.column(columns[0]), spec)
        why |= {row: f"column {columns[0]!r}: {text}" for row, text in wrong.items()}
    return [why.get(row) or {key: held[row] for key, held in shapes.items()} for row in range(table.num_rows)]


def _judged_lists(column: Any, spec: TensorSpec) -> tuple[list[tuple[int, ...]], dict[int, str]]:
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    why: dict[int, str] = {}
    shapes = []
    for row, shape in enumerate(list_shapes(column)):
        try:
            if isinstance(shape, str):
                why[row] = shape
            elif shape not in known:
                known[shape] = row_shape(shape, spec, "row")
        except ConfigError as error:
            why[row] = error.message
        shapes.append(known.get(shape, ()) if not isinstance(shape, str) else ())
    return shapes, why


def _array(table: Any, columns: Sequence[str], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    arrays = []
    for column in columns:
        found = leaves_of(table.column(column))
        if found.dtype.kind not in "biuf" and not is_text(found):
            message = f"{name}: column {column!r} is no number: {table.schema.field(column).type}"
            raise ConfigError(message)
        arrays.append(found)
    flat = arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)
    return flat.reshape(table.num_rows, *shape)


class ParquetWriter:
    """Writes outputs, some rows at a time.

    Args:
        path: Where to.
        name: The file, as messages call it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._writer: Any = None

    def write(self, names: Sequence[str], arrays: Sequence[NDArray[Any]], is_null: Sequence[bool]) -> None:
        """Append rows: numbers as they are, anything larger as lists."""
        arrow = needed("pyarrow", "parquet", self._name)
        columns = {}
        for name, array in zip(names, arrays, strict=True):
            plain = array.reshape(len(array)) if array.ndim == 2 and array.shape[1] == 1 else array  # noqa: PLR2004
            kind = arrow.array(plain.reshape(-1)[:0]).type if plain.dtype != object else arrow.binary()
            for _ in plain.shape[1:]:
                kind = arrow.list_(kind)
            values = [None if null else value for value, null in zip(plain.tolist(), is_null, strict=True)]
            columns[name] = arrow.array(values, kind)
        table = arrow.table(columns)
        if self._writer is None:
            parquet = needed("pyarrow.parquet", "parquet", self._name)
            self._writer = parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
