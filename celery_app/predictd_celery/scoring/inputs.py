"""What is scored: files and folders of images, with their digests and chunks, and the names of their outputs.

Owns `InputSource` and `InputFile`. The thread that runs the scoring.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from predictd_celery.scoring.formats.kinds import IMAGES, KINDS, kind_of
from predictd_celery.scoring.formats.spans import Limits, Scan, Source
from predictd_celery.scoring.stamps import Stamps, stamps_of, stamps_of_rows
from predictd_proto.errors import ConfigError


@dataclass(frozen=True, slots=True)
class InputSource:
    """One file or folder, before it is read.

    Attributes:
        source: Where it is.
        kind: What it is.
        output: The name of its output.
    """

    source: Source
    kind: str
    output: str

    @property
    def name(self) -> str:
        """Its name."""
        return self.source.name


@dataclass(frozen=True, slots=True)
class InputFile(InputSource):
    """One file or folder.

    Attributes:
        scan: Its digest and chunks.
        stamps: Of its files, from before it was read.
    """

    scan: Scan
    stamps: Stamps

    @property
    def rows(self) -> int:
        """How many rows it has, bad ones too."""
        return sum(span.rows for span in self.scan.spans)


def input_sources(paths: Iterable[str | Path], output_count: int, scratch: Path) -> tuple[InputSource, ...]:
    """Return what a run is about; nothing is read.

    Args:
        paths: Where they are; a link counts by its own name.
        output_count: How many outputs the model has.
        scratch: The run's own folder, for what must be unpacked.

    Raises:
        ConfigError: One is not there, or of no known kind.
    """
    found = []
    # Not resolved: a link's own name says its kind, and what its output is called.
    for path in (Path(os.path.abspath(path)) for path in paths):
        kind = kind_of(path)
        source = Source(str(path), path.name, str(scratch))
        found.append(InputSource(source, kind, _output_name(path, kind, output_count)))
    if not found:
        message = "expected at least one file or folder to score"
        raise ConfigError(message)
    return tuple(found)


def input_file(asked: InputSource, limits: Limits) -> InputFile:
    """Return an input with its digest and chunks; it is read once as a whole.

    Raises:
        ConfigError: It is not what its name says.
    """
    stamps = stamps_of(asked.source)
    scan = KINDS[asked.kind].scan(asked.source, limits)
    return InputFile(asked.source, asked.kind, asked.output, scan, stamps_of_rows(stamps, scan))


def _output_name(path: Path, kind: str, output_count: int) -> str:
    if kind == IMAGES:
        return f"{path.name}.jsonl"
    return f"{path.stem}.npz" if kind == "npy" and output_count > 1 else path.name
