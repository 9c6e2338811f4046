"""Recorded requests: real inputs beside a version, for what made-up ones don't tell.

Owns their names within `warmup.npz` and how a recorded request becomes one of another number of rows. It runs nothing.
Loader thread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_server.models.files import ModelFile
from predictd_server.models.sample_files import WARMUP, fitted, read_samples, samples_path
from predictd_server.trials.recording import Recording

#: `inputs/NAME`; a number in front tells several requests apart, the signature's name stands before that.
_KEY = re.compile(r"(?:(?P<signature>.+?)/)??(?:(?P<number>\d{1,9})/)?inputs/(?P<name>.+)", re.DOTALL)


def recorded_inputs(
    file: ModelFile, specs: Mapping[str, SignatureSpec], default_signature: str
) -> dict[str, tuple[Recording, ...]]:
    """Return the requests recorded beside a version, by signature; a signature without any is left out.

    Args:
        file: The version.
        specs: Its signatures.
        default_signature: The one whose arrays need no signature in their names.

    Raises:
        ModelLoadError: The file is there and can't be read, or holds what no signature takes.
    """
    path = samples_path(file, WARMUP)
    arrays = read_samples(path)
    if arrays is None:
        return {}
    requests: dict[tuple[str, int], dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        match = _KEY.fullmatch(key)
        signature = default_signature if match is None else match["signature"] or default_signature
        spec = specs.get(signature)
        if match is None or spec is None or match["name"] not in {tensor.name for tensor in spec.inputs}:
            raise _unknown(path, key, specs, default_signature)
        requests.setdefault((signature, int(match["number"] or 0)), {})[match["name"]] = array
    if not requests:
        text = f"{path}: it holds no arrays; remove it, or record the inputs of a request: inputs/NAME"
        raise ModelLoadError(text)
    recorded: dict[str, tuple[Recording, ...]] = {}
    for signature, number in sorted(requests):
        recording = _recording(path, specs[signature], number, requests[signature, number])
        recorded[signature] = (*recorded.get(signature, ()), recording)
    return recorded


def _recording(path: Path, spec: SignatureSpec, number: int, arrays: dict[str, NDArray[Any]]) -> Recording:
    where = f"{path}: request {number} of signature {spec.name!r}"
    missing = [tensor.name for tensor in spec.inputs if tensor.name not in arrays]
    if missing:
        text = f"{where}: the inputs {', '.join(map(repr, missing))} are missing; record all inputs of a request"
        raise ModelLoadError(text)
    inputs = [fitted(arrays[tensor.name], tensor, f"{where}: input {tensor.name!r}") for tensor in spec.inputs]
    counts = {len(array) for array, tensor in zip(inputs, spec.inputs, strict=True) if tensor.shape[:1] == (None,)}
    if 0 in counts or len(counts) > 1:
        shown = ", ".join(
            f"{tensor.name!r} {list(array.shape)}" for tensor, array in zip(spec.inputs, inputs, strict=True)
        )
        text = f"{where}: expected the same number of rows in all inputs, one at least; got {shown}"
        raise ModelLoadError(text)
    return Recording(tuple(spec.inputs), tuple(inputs), where)


def _unknown(path: Path, key: str, specs: Mapping[str, SignatureSpec], default_signature: str) -> ModelLoadError:
    expected = ", ".join(f"'inputs/{tensor.name}'" for tensor in specs[default_signature].inputs)
    others = ", ".join(repr(name) for name in specs if name != default_signature)
    text = (
        f"{path}: array {key!r} is for no input of this model; expected {expected}, or several requests as "
        f"'0/inputs/NAME', '1/inputs/NAME'"
    )
    if others:
        text += f"; those of another signature ({others}) with its name in front: 'SIGNATURE/inputs/NAME'"
    return ModelLoadError(text)
