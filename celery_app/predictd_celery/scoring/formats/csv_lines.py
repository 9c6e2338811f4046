""".csv: numbers with commas between them, one row a line; a first line of names is a header.

Owns reading and writing them. Any thread.

Read by numpy's `loadtxt`, which since numpy 1.23 is the fastest of what is installed anyway: 1,024 rows of 784 numbers
(8.5 MB) take it 43 ms, a loop with `float` 103 ms, the `csv` module 159 ms; pyarrow takes 60 ms.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.scoring.formats.shaping import only_input, row_shape, shaped
from predictd_celery.scoring.formats.spans import Limits, Scan, Source, Span
from predictd_celery.scoring.formats.text_lines import all_lines, lines_of, scan_lines
from predictd_celery.scoring.rows import BadRow, Rows
from predictd_proto.dtypes import NUMPY_DTYPES
from predictd_proto.errors import ConfigError
from predictd_proto.tensors import TensorSpec

_SHOWN = 60
_QUOTE = b'"'
#: What programs write where there is no value.
_NOTHING = frozenset(("", "nan", "+nan", "-nan", "na", "n/a", "null", "none"))


def scan(source: Source, limits: Limits) -> Scan:
    """Return a file's digest and chunks.

    Raises:
        ConfigError: Its lines end in a way that is not read.
    """
    said = {"yes": True, "no": False}.get(limits.header)

    def has_header(line: bytes) -> bool:
        if b"\r" in line.strip(b"\r\n"):
            message = f"{source.name}: its lines end with CR alone; save it with LF or CR LF at their ends"
            raise ConfigError(message)
        return looks_like_header(line) if said is None else said

    return scan_lines(source, limits, has_header)


def looks_like_header(line: bytes) -> bool:
    """Whether a line has a name in it and no number; fields without a value and an open quote are a bad row's."""
    fields = _fields(line)
    is_nothing = all(field.lower() in _NOTHING for field in fields)
    return not (is_nothing or _has_open_quote(line) or any(map(_is_number, fields)))


def read(source: Source, span: Span, specs: Sequence[TensorSpec]) -> Rows:
    """Return the rows of one chunk.

    Raises:
        ConfigError: No row of the file has as many numbers as the model takes, or the model's input is no number.
    """
    columns = _columns(source, span, specs)
    lines = lines_of(source, span)
    dtype = _dtype(specs, source.name)
    if columns is None:
        spec = only_input(specs, source.name)
        width = _width(source, spec, dtype, is_after_header=span.has_header, stamp=source.stamp())
        table, bad = _table(lines, dtype, width, source.name)
        arrays = {spec.name: shaped(table, spec, source.name)}
    else:
        table, bad = _table(lines, dtype, len(_header(source)), source.name)
        arrays = {
            spec.name: shaped(table[:, [column]], spec, source.name)
            for spec, column in zip(specs, columns, strict=True)
        }
    return Rows(span.rows, arrays, bad, (source.name, span.first_row))


def _table(
    lines: Sequence[tuple[int, bytes]], dtype: np.dtype[Any], width: int, name: str
) -> tuple[NDArray[Any], tuple[BadRow, ...]]:
    try:
        table = _parsed([line for _, line in lines], dtype)
    except ValueError:
        table = None
    if table is not None and table.shape == (len(lines), width):
        return table, ()
    # Now line by line, to know which ones it is.
    good, bad = [], []
    for row, (number, line) in enumerate(lines):
        try:
            found = _parsed([line], dtype)
            if found.shape != (1, width):
                message = f"{found.shape[-1]} fields, expected {width}"
                raise ValueError(message)
            good.append(found[0])
        except ValueError as error:
            shown = line[:_SHOWN].decode("utf-8", "replace").strip()
            bad.append(BadRow(row, f"{name}:{number}", f"expected {width} numbers ({dtype}), got {shown!r} ({error})"))
    return np.array(good, dtype).reshape(len(good), width), tuple(bad)


def _parsed(lines: Iterable[bytes], dtype: np.dtype[Any]) -> NDArray[Any]:
    check = _whole_text if dtype.kind in "iu" else _text
    return np.loadtxt(map(check, lines), dtype, comments=None, delimiter=",", quotechar='"', ndmin=2)


def _text(line: bytes) -> str:
    if _has_open_quote(line):
        # To numpy it goes on in the next line, or ends where there is none.
        message = "a quote that does not end"
        raise ValueError(message)
    return line.decode()


def _whole_text(line: bytes) -> str:
    # Before numpy 2.4 "1.5" and "3e9" become whole numbers, which they are not, with a warning that nobody sees.
    if any(sign in line for sign in b".eE"):
        message = "not a whole number"
        raise ValueError(message)
    return _text(line)


def _has_open_quote(line: bytes) -> bool:
    return bool(line.count(_QUOTE) % 2)


def _columns(source: Source, span: Span, specs: Sequence[TensorSpec]) -> list[int] | None:
    """Return which column is which input, where a header names them all and there are several."""
    if len(specs) == 1:
        return None
    header = _header(source) if span.has_header else []
    missing = [spec.name for spec in specs if spec.name not in header]
    if missing:
        message = (
            f"{source.name}: expected a header with a column for each input of the model, found none for {missing}"
        )
        raise ConfigError(message)
    return [header.index(spec.name) for spec in specs]


def _dtype(specs: Sequence[TensorSpec], name: str) -> np.dtype[Any]:
    dtypes = {NUMPY_DTYPES.get(spec.dtype, np.dtype(np.float32)) for spec in specs if spec.dtype != "string"}
    if len(dtypes) != len({spec.dtype for spec in specs}) or any(dtype.kind not in "fiu" for dtype in dtypes):
        message = f"{name}: a .csv file has numbers only, the model takes {', '.join(map(str, specs))}: use .jsonl"
        raise ConfigError(message)
    return dtypes.pop() if len(dtypes) == 1 else np.dtype(np.float64)


@lru_cache(maxsize=8)
def _width(
    source: Source, spec: TensorSpec, dtype: np.dtype[Any], *, is_after_header: bool, stamp: tuple[int, int]
) -> int:
    """Return how many numbers a row has: as the file's first one that the model takes, whatever the chunk."""
    del stamp  # a file that was replaced is another one
    refused: Exception | None = None
    for line in islice(all_lines(source), int(is_after_header), None):
        try:
            width = int(_parsed([line], dtype).shape[1])
            row_shape((width,), spec, source.name)
        except (ValueError, ConfigError) as error:
            refused = refused if isinstance(refused, ConfigError) else error
        else:
            return width
    if isinstance(refused, ConfigError):
        raise refused
    # Not one line of numbers: each is a bad row.
    return len(_fields(next(all_lines(source), b"")))


def _header(source: Source) -> list[str]:
    return _fields(next(all_lines(source), b""))


def _fields(line: bytes) -> list[str]:
    text = line.decode("utf-8", "replace")
    try:
        fields = next(csv.reader([text]), [])
    except csv.Error:  # a field of more than 131,072 characters
        fields = text.split(",")
    return [field.strip() for field in fields]


def _is_number(field: str) -> bool:
    try:
        # The word "nan" may well be a column's name.
        return not isnan(float(field))
    except ValueError:
        return False


def header_line(names: Sequence[str]) -> bytes:
    """Return the first line of outputs."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(names)
    return text.getvalue().encode()


def texts_of(array: NDArray[Any]) -> NDArray[np.str_]:
    """Return outputs as columns of texts: numbers as the shortest that gives the same again."""
    flat = array.reshape(len(array), -1)
    if not flat.dtype.hasobject:
        return flat.astype(str)
    texts = [[value.decode("utf-8", "replace") for value in row] for row in flat.tolist()]
    return np.array(texts, np.str_).reshape(flat.shape)


def row_lines(columns: NDArray[np.str_], is_null: Sequence[bool]) -> bytes:
    """Return rows of outputs as lines; null rows have empty fields.

    Args:
        columns: Two axes of texts.
        is_null: For each row.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    empty = [""] * columns.shape[1]
    for row, null in zip(columns.tolist(), is_null, strict=True):
        writer.writerow(empty if null else row)
    return text.getvalue().encode()
