""".npy: one array, its rows along axis 0; mapped, never read as a whole.

Owns reading and writing them. Nothing is unpickled. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.scoring.formats.shaping import only_input, shaped
from predictd_celery.scoring.formats.spans import Limits, Scan, Source, Span, digest_of_file, even_spans
from predictd_celery.scoring.rows import Rows
from predictd_proto.errors import ConfigError
from predictd_proto.tensors import TensorSpec


def scan(source: Source, limits: Limits) -> Scan:
    """Return a file's digest and chunks.

    Raises:
        ConfigError: It is no such file, or holds objects.
    """
    array = _mapped(source)
    rows = len(array)
    return Scan(*digest_of_file(Path(source.path)), even_spans(rows, array.nbytes / max(rows, 1), limits))


def read(source: Source, span: Span, specs: Sequence[TensorSpec]) -> Rows:
    """Return the rows of one chunk."""
    spec = only_input(specs, source.name)
    array = np.array(_mapped(source)[span.first_row : span.first_row + span.rows])
    source.check_rows(len(array), span)
    return Rows(span.rows, {spec.name: shaped(array, spec, source.name)}, (), (source.name, span.first_row))


def _mapped(source: Source) -> NDArray[Any]:
    try:
        array: Any = np.load(source.path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        # A broken head raises whatever Python's parser does.
        message = f"{source.name}: expected a .npy file of numbers: {error}"
        raise ConfigError(message) from error
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        message = f"{source.name}: expected an array whose axis 0 counts the rows"
        raise ConfigError(message)
    return array
