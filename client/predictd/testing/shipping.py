"""Fake models on their way to another process: as text, without pickle.

Owns that form. A function travels by its name and must be found by it at the other end. Any thread.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

from predictd.testing.answers import by_name
from predictd.testing.models import FakeModel
from predictd_proto.errors import ConfigError
from predictd_proto.metadata import ModelMetadata
from predictd_proto.plain import from_plain, to_plain
from predictd_proto.structures import fill_structure
from predictd_proto.tensors import Tensor


def ship(model: FakeModel) -> str:
    """Return a model as text.

    Raises:
        ConfigError: Its answer is a function that has no name to be found by.
    """
    metadata = model.metadata
    answers: dict[str, Any] = {}
    for spec in metadata.signatures:
        answer = model.signatures[spec.name].answer
        if callable(answer):
            answers[spec.name] = {"function": _name_of(model, answer)}
        elif answer is not None:
            values = by_name(repr(model), spec.outputs, spec.output_structure, answer)
            tensors = [Tensor.from_array(name, np.asarray(value)) for name, value in values.items()]
            answers[spec.name] = {"tensors": [[t.name, t.dtype, t.shape, bytes(t.data)] for t in tensors]}
    return base64.b64encode(msgpack.packb({"metadata": to_plain(metadata), "answers": answers})).decode()


def unship(text: str) -> FakeModel:
    """Return the model that a text holds.

    Raises:
        ConfigError: Its function is not to be found here.
    """
    plain = msgpack.unpackb(base64.b64decode(text))
    metadata: ModelMetadata = from_plain(ModelMetadata, plain["metadata"])
    model = FakeModel.from_metadata(metadata)
    for spec in metadata.signatures:
        answer = plain["answers"].get(spec.name)
        if answer is None:
            continue
        if "function" in answer:
            model.signatures[spec.name].answer = found(answer["function"])
        else:
            arrays = {
                name: Tensor(name, dtype, tuple(shape), data).array() for name, dtype, shape, data in answer["tensors"]
            }
            model.signatures[spec.name].answer = fill_structure(spec.output_structure, arrays)
    return model


def found(name: str) -> Any:
    """Return what a text such as "package.module:name" names.

    Raises:
        ConfigError: There is no such thing.
    """
    module, _, path = name.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in path.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError, ValueError) as error:
        text = (
            f"{name!r}: expected an importable module, a colon and a name in it, such as 'tests.models:digits': {error}"
        )
        raise ConfigError(text) from error
    return value


def _name_of(model: FakeModel, function: Callable[..., Any]) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or module == "__main__" or not name or "<" in name:
        text = (
            f"{model!r}: its answer, {function!r}, can't be found by name in another process. Make it a function at "
            "the top of a module, or a constant"
        )
        raise ConfigError(text)
    return f"{module}:{name}"
