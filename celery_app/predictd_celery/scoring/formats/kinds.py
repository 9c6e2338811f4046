"""Which kind of file is which, by its name.

Owns the list of kinds, and what is raised of a file that can't be read, whatever its kind. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from predictd_celery.scoring.formats import csv_lines, images, json_lines, npy, npz, parquet
from predictd_celery.scoring.formats.shaping import without_misfits
from predictd_celery.scoring.formats.spans import Limits, Scan, Source, Span
from predictd_celery.scoring.rows import Rows
from predictd_proto.errors import ConfigError, PredictdError, ScoreError
from predictd_proto.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file.

    Attributes:
        scanner: Its module's `scan`.
        reader: Its module's `read`.
    """

    scanner: Callable[[Source, Limits], Scan]
    reader: Callable[[Source, Span, Sequence[TensorSpec]], Rows]

    def scan(self, source: Source, limits: Limits) -> Scan:
        """Return a file's digest and chunks.

        Raises:
            ConfigError: It can't be read, or is no such file.
        """
        with _told(source, ConfigError, "mend it, or leave it out"):
            return self.scanner(source, limits)

    def read(self, source: Source, span: Span, specs: Sequence[TensorSpec]) -> Rows:
        """Return the rows of one chunk.

        Raises:
            ScoreError: The file can't be read any more, or has changed.
            ConfigError: It does not go with the model.
        """
        with _told(source, ScoreError, "what is done is kept: see that it is there and run the same again"):
            return without_misfits(self.reader(source, span, specs), specs)


@contextmanager
def _told(source: Source, kind: type[PredictdError], to_do: str) -> Iterator[None]:
    try:
        yield
    except PredictdError:
        # Some are an OSError too.
        raise
    except OSError as error:
        message = f"{error.filename or source.path} can't be read: {error.strerror or error}; {to_do}"
        raise kind(message) from error


IMAGES = "images"
KINDS = {
    "csv": Kind(csv_lines.scan, csv_lines.read),
    IMAGES: Kind(images.scan, images.read),
    "jsonl": Kind(json_lines.scan, json_lines.read),
    "npy": Kind(npy.scan, npy.read),
    "npz": Kind(npz.scan, npz.read),
    "parquet": Kind(parquet.scan, parquet.read),
}


def kind_of(path: Path) -> str:
    """Return a path's kind.

    Raises:
        ConfigError: It has none, or is not there.
    """
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}; mend it, or leave it out"
        raise ConfigError(message) from error
    if is_folder:
        return IMAGES
    if not is_file:
        message = f"{path}: there is no such file"
        raise ConfigError(message)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in KINDS or kind == IMAGES:
        message = f"{path}: expected a folder of images, or a name that ends in .csv, .jsonl, .npy, .npz or .parquet"
        raise ConfigError(message)
    return kind
