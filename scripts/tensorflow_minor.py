"""Prints the minor version of the TensorFlow that is installed, to which a release of tf_keras is tied: "2.21".

Owns no choice. It asks the packages' metadata and imports no TensorFlow.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def tensorflow_version() -> str:
    """Return the version of whichever TensorFlow package is installed."""
    for package in ("tensorflow", "tensorflow-cpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    text = "neither tensorflow nor tensorflow-cpu is installed"
    raise SystemExit(text)


if __name__ == "__main__":
    print(".".join(tensorflow_version().split(".")[:2]))
