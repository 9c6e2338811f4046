"""The two lines of Keras: which of them reads a file.

Owns the choice between `keras` (3) and `tf_keras` (2) by what the file says, and what becomes of a file whose line
isn't installed. Loader thread.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from predictd_server.keras_files.stored_config import StoredConfig


class KerasLine:
    """One line of Keras.

    Attributes:
        module: `keras` or `tf_keras`.
        default_dtype: The dtype of inputs for which a model names none.
        is_substitute: Whether it stands in for the other line, which isn't installed.
    """

    def __init__(self, module: Any, *, is_substitute: bool = False) -> None:
        self.module = module
        self.default_dtype = str(module.backend.floatx())
        self.is_substitute = is_substitute

    @property
    def is_keras_2(self) -> bool:
        """Whether it is `tf_keras`."""
        return self.module is not keras

    def registered_names(self) -> set[str]:
        """Return the names under which custom classes and functions were registered."""
        return set(self.module.utils.get_custom_objects())


def line_for(stored: StoredConfig) -> KerasLine:
    """Return the line that reads a file: the one that wrote it if it is installed, else Keras 3, which reads many."""
    if stored.is_keras_3:
        return KerasLine(keras)
    try:
        import tf_keras
    except ImportError:
        return KerasLine(keras, is_substitute=True)
    return KerasLine(tf_keras)


def how_to_install() -> str:
    """Return how Keras 2 gets here: its package is tied to TensorFlow's version, and to TensorFlow's package name."""
    minor = ".".join(tf.__version__.split(".")[:2])
    return (
        "pip install 'predictd[server,keras2]', or where TensorFlow is tensorflow-cpu: "
        f"pip install --no-deps 'tf_keras=={minor}.*'"
    )
