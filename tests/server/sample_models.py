"""A model without TensorFlow for the tests of samples: any function of numpy arrays, with any allowed batch sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import TensorSpec
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.settings import ModelSettings
from predictd_server.serving.served import ServedSignature

Call = Callable[..., Any]


class Computed:
    """Runs a function and keeps the rows of each run."""

    kind = "fake"

    def __init__(self, call: Call) -> None:
        self.call = call
        self.rows: list[int] = []

    def run(self, inputs: Any) -> Any:
        self.rows.append(len(inputs[0]) if inputs[0].ndim else 0)
        answer = self.call(*inputs)
        return list(answer) if isinstance(answer, tuple) else [answer]

    def close(self) -> None:
        pass


def spec_of(inputs: dict[str, tuple[str, Any]], outputs: dict[str, tuple[str, Any]], name: str) -> SignatureSpec:
    return SignatureSpec(
        name=name,
        inputs=tuple(TensorSpec(key, *of) for key, of in inputs.items()),
        outputs=tuple(TensorSpec(key, *of) for key, of in outputs.items()),
        input_structure=list(inputs),
        output_structure=list(outputs),
    )


def signature(
    call: Call,
    inputs: dict[str, tuple[str, Any]] | None = None,
    outputs: dict[str, tuple[str, Any]] | None = None,
    sizes: tuple[int, ...] = (1, 2, 4),
    name: str = "serve",
) -> ServedSignature:
    """Return a function as it would be served; `x` to `y` with two floats a row unless told otherwise."""
    two_floats = ("float32", (None, 2))
    spec = spec_of(inputs or {"x": two_floats}, outputs or {"y": two_floats}, name)
    return ServedSignature("m", 1, spec, Computed(call), sizes)


def bare_file(folder: Path) -> ModelFile:
    """Return a bare model file; nothing reads what is in it."""
    return ModelFile("m", folder / "m.keras", ModelFormat.KERAS)


def settings_of(folder: Path, tolerance: float = 1e-4) -> ModelSettings:
    return ModelSettings(name="m", path=folder / "m.keras", tolerance=tolerance)


def write(path: Path, **arrays: Any) -> Path:
    """Write samples; `inputs__x` is the array "inputs/x"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    named: dict[str, Any] = {name.replace("__", "/"): np.asarray(array) for name, array in arrays.items()}
    np.savez(path, **named)
    return path
