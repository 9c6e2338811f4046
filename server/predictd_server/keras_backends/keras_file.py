"""Keras' files for JAX and PyTorch: from `.keras` and `.h5` to a model.

Owns what these backends can't compute, and how that is said. Code that a file carries is refused, as everywhere.
Loader thread: Keras' state belongs to the thread that loads.
"""

from __future__ import annotations

from typing import Any

import keras

from predictd_proto.dtypes import STRING
from predictd_proto.errors import ModelLoadError
from predictd_proto.tensors import TensorSpec
from predictd_server.keras_files.custom_objects import import_modules
from predictd_server.keras_files.stored_config import read_stored_config
from predictd_server.models.code_policy import CodePolicy
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.settings import ModelSettings

_KERAS_FORMATS = (ModelFormat.KERAS, ModelFormat.HDF5)
#: What Keras says of a layer that computes with TensorFlow whatever its backend is.
_NEEDS_TENSORFLOW = ("requires TensorFlow", "requires the tensorflow module", "No module named 'tensorflow'")


def check_format(file: ModelFile, backend: str) -> None:
    """Refuse a file that isn't Keras'.

    Raises:
        ModelLoadError: It is TensorFlow's own.
    """
    if file.format not in _KERAS_FORMATS:
        text = (
            f"its format {file.format.value!r} is TensorFlow's own, which backend = {backend!r} can't compute; "
            "expected a .keras file, or an .h5 file of Keras 3; serve it with backend = 'tensorflow'"
        )
        raise ModelLoadError(text)


def read_model(file: ModelFile, settings: ModelSettings, code: CodePolicy, backend: str) -> Any:
    """Return the model of a Keras file.

    Args:
        file: The file.
        settings: The model's: modules with custom objects.
        code: What becomes of code in the file.
        backend: "jax" or "torch".

    Raises:
        ModelLoadError: It carries code, or one of its layers needs TensorFlow.
        Exception: Whatever Keras raises for a file that it can't read.
    """
    stored = read_stored_config(file.path)
    if stored.config is None:
        text = "it holds weights without a model; expected what model.save() writes: model.keras"
        raise ModelLoadError(text)
    for what in stored.lambdas(are_named_ones_code=False):
        code.meet_carried_code(what, "build the model without Lambda")
    if file.format is ModelFormat.HDF5:
        code.meet(
            "it is an HDF5 file, a format whose loaders have run code from files more than once",
            "save the model as model.keras",
        )
    if not stored.is_keras_3:
        code.notes.append(
            f"Keras {stored.keras_version or '1 or 2'} wrote it and Keras {keras.__version__} read it: compare its "
            "answers with a golden.npz beside it"
        )
    if settings.modules:
        code.meet(f"its setting `modules` runs {', '.join(settings.modules)}", "build the model of Keras' own layers")
    custom_objects = import_modules(settings.modules)
    try:
        return keras.saving.load_model(
            file.path, custom_objects=custom_objects, compile=False, safe_mode=not code.allows_all
        )
    except Exception as error:
        raise _needs_tensorflow(error, backend) or error from error


def _needs_tensorflow(error: Exception, backend: str) -> ModelLoadError | None:
    lines = [line.strip() for line in str(error).splitlines()]
    said = next((line for line in lines if any(sign in line for sign in _NEEDS_TENSORFLOW)), None)
    if said is None:
        return None
    return ModelLoadError(
        f"one of its layers computes with TensorFlow on every backend, {backend!r} included ({said.split('. ')[0]}); "
        "serve it with backend = 'tensorflow', or save the model without that layer"
    )


def check_inputs(inputs: tuple[TensorSpec, ...], backend: str) -> None:
    """Refuse inputs that the backend has no tensors for.

    Raises:
        ModelLoadError: One of them takes strings.
    """
    for spec in inputs:
        if spec.dtype == STRING:
            text = (
                f"input {spec.name!r} takes strings, which backend = {backend!r} has no tensors for; serve it with "
                "backend = 'tensorflow', or save a model that begins after the strings"
            )
            raise ModelLoadError(text)
