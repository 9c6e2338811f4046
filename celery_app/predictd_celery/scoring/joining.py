"""The chunks' files -> the outputs: one row for each row, in order, of the same kind as the input.

Owns looking through the chunks and writing the outputs. Each of these appears whole, by a rename. The thread that runs
the scoring.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.scoring.answers import Answers
from predictd_celery.scoring.chunk_files import PARTIAL, sync_folder
from predictd_celery.scoring.formats import csv_lines, json_lines
from predictd_celery.scoring.formats.kinds import IMAGES
from predictd_celery.scoring.formats.parquet import ParquetWriter
from predictd_celery.scoring.inputs import InputFile
from predictd_celery.scoring.questions import Question
from predictd_celery.scoring.rows import BadRow
from predictd_proto.dtypes import NUMPY_DTYPES
from predictd_proto.errors import ScoreError

#: One chunk's answers and its rows' own files; called anew for each pass.
Pass = Callable[[], Iterator[tuple[Answers, tuple[str, ...]]]]


@dataclass(frozen=True, slots=True)
class Part:
    """What goes into an output of one chunk.

    Attributes:
        arrays: The outputs, a row for each that is written.
        is_null: Which of them stand for bad rows.
        members: Each row's own file, where it has one.
    """

    arrays: list[NDArray[Any]]
    is_null: list[bool]
    members: list[str]


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of an output before it is written.

    Attributes:
        shapes: Each output's dtype and shape of a row; empty where nothing tells them.
        rows: How many rows are written.
        bad: The bad rows.
    """

    shapes: list[tuple[np.dtype[Any], tuple[int, ...]]]
    rows: int
    bad: list[BadRow]


def survey(file: InputFile, question: Question, chunks: Pass) -> Survey:
    """Look through all chunks of an input, and check that they fit together.

    Raises:
        ScoreError: They don't.
    """
    found: _Shapes = []
    rows = 0
    bad: list[BadRow] = []
    is_fixed = file.kind not in {"jsonl", IMAGES}
    for answers, _ in chunks():
        bad += answers.bad
        rows += answers.count - (len(answers.bad) if question.on_error == "skip" else 0)
        if not answers.outputs:
            continue
        arrays = [answers.outputs[name] for name in question.output_names]
        these: _Shapes = [(array.dtype, array.shape[1:]) for array in arrays]
        if found and is_fixed and these != found:
            message = (
                f"{file.name}: the outputs have other shapes in some chunks ({these}, {found}): score .jsonl files"
            )
            raise ScoreError(message)
        found = found or these
    return Survey(found or _declared(question, is_free_fine=not is_fixed or not rows), rows, bad)


def _declared(question: Question, *, is_free_fine: bool) -> _Shapes:
    """Return what the model says of its outputs, where no answer shows them.

    Args:
        question: What is asked.
        is_free_fine: Whether an axis of any length may be empty: where no row is written, or its null has no shape.
    """
    if not is_free_fine and any(None in shape[1:] for _, _, shape in question.outputs):
        return []
    return [
        (NUMPY_DTYPES.get(dtype, np.dtype(object)), tuple(axis or 0 for axis in shape[1:]))
        for _, dtype, shape in question.outputs
    ]


def write_output(folder: Path, file: InputFile, question: Question, chunks: Pass, found: Survey) -> None:
    """Write the output of one input.

    Raises:
        ScoreError: It can't be written, or not in this format.
    """
    names = question.output_names
    is_skipping = question.on_error == "skip"
    target = folder / file.output
    partial = target.with_name(f".{file.output}{PARTIAL}")

    def parts() -> Iterator[Part]:
        for answers, members in chunks():
            yield _part(answers, members, names, found.shapes, is_skipping=is_skipping)

    try:
        _WRITERS[file.kind](partial, names, parts, found)
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(target)
        sync_folder(folder)
    except OSError as error:
        message = f"{target} can't be written: {error}; what is done is kept: make room and run the same again"
        raise ScoreError(message) from error
    finally:
        partial.unlink(missing_ok=True)


_Shapes = list[tuple[np.dtype[Any], tuple[int, ...]]]
_Parts = Callable[[], Iterator[Part]]


def _part(
    answers: Answers, members: tuple[str, ...], names: Sequence[str], shapes: _Shapes, *, is_skipping: bool
) -> Part:
    if not answers.bad:
        # As most chunks are; what follows looks at each row.
        arrays = [answers.outputs[name] for name in names] if answers.outputs else _nothing(shapes)
        return Part(arrays, [False] * answers.count, list(members))
    bad = {one.row for one in answers.bad}
    kept = [row for row in range(answers.count) if row not in bad or not is_skipping]
    is_null = [row in bad for row in kept]
    arrays = []
    for name, (dtype, shape) in zip(names, shapes, strict=True):
        good = answers.outputs.get(name)
        if good is not None and not any(is_null):
            arrays.append(good)
            continue
        own = (dtype, shape) if good is None else (good.dtype, good.shape[1:])
        whole = np.full((len(kept), *own[1]), _null(own[0]), own[0])
        if good is not None:
            whole[~np.array(is_null)] = good
        arrays.append(whole)
    return Part(arrays, is_null, [members[row] for row in kept] if members else [])


def _nothing(shapes: _Shapes) -> list[NDArray[Any]]:
    return [np.empty((0, *shape), dtype) for dtype, shape in shapes]


def _null(dtype: np.dtype[Any]) -> Any:
    """Return what stands for no number: NaN where there is one, else 0; the manifest lists the rows."""
    return np.nan if dtype.kind in "fc" else b"" if dtype.hasobject else dtype.type()


def _write_npy(path: Path, names: Sequence[str], parts: _Parts, found: Survey) -> None:
    if len(names) > 1:
        _write_npz(path, names, parts, found)
    else:
        _write_array(path, parts, found, 0)


def _write_npz(path: Path, names: Sequence[str], parts: _Parts, found: Survey) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for place, name in enumerate(names):
            one = path.with_name(f"{path.name}.{place}")
            try:
                _write_array(one, parts, found, place)
                archive.write(one, f"{name}.npy")
            finally:
                with suppress(OSError):
                    one.unlink()


def _write_array(path: Path, parts: _Parts, found: Survey, place: int) -> None:
    dtype, axes = found.shapes[place]
    if dtype.hasobject:
        message = f"{path.name.strip('.')}: the model's output is text, which .npy can't hold: score .jsonl files"
        raise ScoreError(message)
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (found.rows, *axes)}
        np.lib.format.write_array_header_2_0(file, header)
        for part in parts():
            file.write(np.ascontiguousarray(part.arrays[place]).tobytes())


def _write_csv(path: Path, names: Sequence[str], parts: _Parts, found: Survey) -> None:
    widths = [prod(shape) for _, shape in found.shapes]
    header = [
        name if width == 1 else f"{name}_{column}"
        for name, width in zip(names, widths, strict=True)
        for column in range(width)
    ]
    with path.open("wb") as file:
        file.write(csv_lines.header_line(header))
        for part in parts():
            flat = [csv_lines.texts_of(array) for array in part.arrays if len(array)]
            if flat:
                file.write(csv_lines.row_lines(np.concatenate(flat, axis=1), part.is_null))


def _write_jsonl(path: Path, names: Sequence[str], parts: _Parts, found: Survey) -> None:
    del found
    with path.open("wb") as file:
        for part in parts():
            file.write(json_lines.row_lines(names, part.arrays, part.is_null, part.members))


def _write_parquet(path: Path, names: Sequence[str], parts: _Parts, found: Survey) -> None:
    writer = ParquetWriter(path, path.name.strip("."))
    try:
        for part in parts():
            if part.is_null:
                writer.write(names, part.arrays, part.is_null)
        if not found.rows:
            writer.write(names, [np.empty((0, *axes), dtype) for dtype, axes in found.shapes], [])
    finally:
        writer.close()


_WRITERS: dict[str, Callable[[Path, Sequence[str], _Parts, Survey], None]] = {
    "csv": _write_csv,
    IMAGES: _write_jsonl,
    "jsonl": _write_jsonl,
    "npy": _write_npy,
    "npz": _write_npz,
    "parquet": _write_parquet,
}
