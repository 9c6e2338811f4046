"""The filter on standard error while TensorFlow is imported.

Owns the choice of lines to drop. TensorFlow's C++ libraries write to the file descriptor before any setting of theirs
is read, `TF_CPP_MIN_LOG_LEVEL` included, so the descriptor itself is turned aside. Loader thread; what other threads
write meanwhile comes out when the import is done.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
#: Information and warnings of TensorFlow's own start, and errors that it raises on every machine with a GPU.
_NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|[IW]\d{4} [\d:.]+ "
    rb"|\d{4}-\d\d-\d\d [\d:.]+ [IW] "
    rb"|To enable the following instructions:"
    rb"|E\d{4} .*Unable to register cu(?:FFT|DNN|BLAS) factory"
)


def is_noise(line: bytes) -> bool:
    """Whether a line on standard error is TensorFlow talking about its own start."""
    return _NOISE.match(line) is not None


@contextmanager
def filtered_stderr() -> Iterator[None]:
    """Hold back standard error, and let through what is not noise afterwards."""
    try:
        saved = os.dup(_STDERR)
    except OSError:  # a process without standard error has nothing to filter
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
            held.seek(0)
            os.write(_STDERR, b"".join(line for line in held if not is_noise(line)))
