"""A Keras file's configuration, read without Keras: which Keras wrote it, and which code it carries.

Owns the look into `.keras` archives and HDF5 attributes, and the search through a model's configuration for what
loading would run. Keras 2 runs a Lambda of an HDF5 file whatever `safe_mode` says, so this looks first. Loader thread.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

_CONFIG, _METADATA = "config.json", "metadata.json"
#: Modules that the loaders of both lines of Keras take their own classes from.
_KERAS = ("keras", "tf_keras")
#: Where Keras looks up its own functions by their names.
_BUILTINS = "builtins"
_LAMBDA_CLASSES = {"Lambda", "__lambda__"}
_FUNCTION = "function"
_FIRST_OF_KERAS_3 = 3


@dataclass(frozen=True, slots=True)
class StoredConfig:
    """What a Keras file says of itself.

    Attributes:
        keras_version: The Keras that wrote it; empty where the file doesn't say, as those of Keras 1 don't.
        config: The model's configuration; None where the file has none.
    """

    keras_version: str
    config: Any

    @property
    def is_keras_3(self) -> bool:
        """Whether Keras 3 wrote it; Keras 2 is another program, which goes on as `tf_keras`."""
        major = self.keras_version.partition(".")[0]
        return major.isdecimal() and int(major) >= _FIRST_OF_KERAS_3

    def lambdas(self, *, are_named_ones_code: bool) -> list[str]:
        """Return in words the Python functions that the file itself holds, in its order.

        Args:
            are_named_ones_code: Whether a Lambda layer of a function that is only named counts. Keras 3 looks for the
                name among custom objects; Keras 2 looks into whatever module the file names.
        """
        return list(
            dict.fromkeys(
                _lambda_text(node)
                for node in _objects(self.config)
                if _is_lambda(node) and (are_named_ones_code or not _is_named(node))
            )
        )

    def foreign_names(self, modules: Sequence[str], known: Container[str]) -> list[str]:
        """Return what a loader would look for outside Keras, as "module.name".

        Args:
            modules: The modules that the operator named; theirs and their packages' names are not foreign.
            known: Names that are found without a look into any module.
        """
        packages = {module.partition(".")[0] for module in modules}
        found = [text for node in _objects(self.config) if (text := _foreign_name(node, packages, known))]
        return list(dict.fromkeys(found))


def read_stored_config(path: Path) -> StoredConfig:
    """Return what a `.keras` or HDF5 file says of itself.

    Raises:
        OSError: It can't be read, or is cut short.
        ValueError: Its configuration is no JSON.
        zipfile.BadZipFile: The archive is damaged.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(_METADATA)) if _METADATA in archive.namelist() else {}
            # Both lines write their version; an archive that somebody made by hand is for the current one.
            version = _text(metadata.get("keras_version")) or str(_FIRST_OF_KERAS_3)
            return StoredConfig(version, json.loads(archive.read(_CONFIG)))
    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
        # Keras 2 kept the version beside the model, and older releases beside the weights only.
        version = file.attrs.get("keras_version")
        if version is None and "model_weights" in file:
            version = file["model_weights"].attrs.get("keras_version")
        return StoredConfig(_text(version), None if config is None else json.loads(_text(config)))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a configuration, the outer ones first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _objects(child)


def _is_lambda(node: dict[str, Any]) -> bool:
    return re.split(r"[.>]", str(node.get("class_name")))[-1] in _LAMBDA_CLASSES


def _is_named(node: dict[str, Any]) -> bool:
    """Whether a Lambda layer's function is one that the file gives the name of, and no code."""
    config = node.get("config")
    function = config.get("function") if isinstance(config, dict) else None
    return isinstance(function, dict) and function.get("class_name") == _FUNCTION


def _lambda_text(node: dict[str, Any]) -> str:
    config = node.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return f"it holds a Lambda layer ({name!r})" if name else "it holds a Lambda layer or a lambda function"


def _foreign_name(node: dict[str, Any], packages: Container[str], known: Container[str]) -> str:
    name, module = node.get("class_name"), node.get("module")
    if not isinstance(name, str) or not isinstance(module, str):
        return ""
    is_function = name == _FUNCTION
    name = str(node.get("config")) if is_function else name
    if name in known or str(node.get("registered_name")) in known:
        return ""
    package = module.partition(".")[0]
    # Functions of Keras' own modules are no parts of a model: they download, unpack and load other files.
    own = (_BUILTINS,) if is_function else (*_KERAS, _BUILTINS)
    is_own = package in packages or (module == _BUILTINS if package == _BUILTINS else package in own)
    return "" if is_own else f"{module}.{name}"
