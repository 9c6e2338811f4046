"""A model of the process's own, loaded when it is first asked for."""

from __future__ import annotations

import functools
import os
from typing import Any


@functools.cache
def own_model() -> Any:
    """Return this process's model."""
    import keras

    return keras.models.load_model(os.environ["WAYS_MODEL"])
