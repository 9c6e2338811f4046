"""Which TensorFlow and Keras are installed, without importing either.

Owns that line. Any thread.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed() -> str:
    """Return the versions as a person reads them: "TensorFlow 2.21.0, Keras 3.15.1"."""
    return f"TensorFlow {_first('tensorflow', 'tensorflow-cpu', 'tf-nightly')}, Keras {_first('keras')}"


def _first(*distributions: str) -> str:
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "of unknown version"
