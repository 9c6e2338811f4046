"""Custom objects: the layers and functions of a user's own modules, for the loader of a Keras file.

Owns the import of the modules that a model's settings name. They are found on `sys.path`, and nowhere else: never
beside a model, which others may be allowed to write. Loader thread, after the backend has started.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from predictd_proto.errors import ModelLoadError


def import_modules(names: Sequence[str]) -> dict[str, Any]:
    """Import modules and return their own classes and functions by name, public and private.

    What they register with `keras.saving.register_keras_serializable` is found without that; what they don't, only so.

    Raises:
        ModelLoadError: One of them can't be imported; the text names it.
    """
    found: dict[str, Any] = {}
    for name in names:
        found.update(_objects(_imported(name)))
    return found


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module may raise anything while it is imported
        text = (
            f"the module {name!r} that its settings name can't be imported: {type(error).__name__}: {error}; "
            "expected a module on the daemon's sys.path: install it there, set PYTHONPATH to the folder that holds it, "
            "or put it beside the configuration file"
        )
        raise ModelLoadError(text) from error


def _objects(module: ModuleType) -> dict[str, Any]:
    package = module.__name__.partition(".")[0]
    return {
        name: value
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        # What it imported from elsewhere is no custom object, and might hide one of Keras' own.
        and value.__module__.partition(".")[0] == package
    }
