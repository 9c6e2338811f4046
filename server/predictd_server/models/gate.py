"""The parity gate: a version goes live only if it gives the answers that were recorded for it.

Owns the comparison with the golden samples beside a version, batched and row by row, as requests will be run. It
changes nothing; who asks keeps the version from being served. Loader thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from predictd_proto.errors import ModelLoadError, PredictdError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.sample_names import INPUTS, MOST_ROWS, OUTPUTS, sample_name
from predictd_proto.tensors import TensorSpec
from predictd_server.models.files import ModelFile
from predictd_server.models.sample_files import GOLDEN, fitted, read_samples, samples_path
from predictd_server.models.settings import ModelSettings
from predictd_server.runner import Arrays
from predictd_server.serving.rehearsal import joined, rehearse
from predictd_server.serving.served import ServedSignature
from predictd_server.trials.distance import find_deviation


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """The golden samples of one signature.

    Attributes:
        inputs: In the signature's order.
        outputs: What is expected, likewise.
        rows: Rows of the inputs.
    """

    inputs: list[NDArray[Any]]
    outputs: list[NDArray[Any]]
    rows: int


def check_golden(
    file: ModelFile, settings: ModelSettings, signatures: Mapping[str, ServedSignature], default_signature: str
) -> str:
    """Compare a version's answers with the golden ones beside it.

    Args:
        file: The version.
        settings: Its tolerance.
        signatures: As they would be served: with the way of running that was chosen, and the allowed batch sizes.
        default_signature: The one whose arrays need no signature in their names.

    Returns:
        What was compared, for the model's metadata; empty where there are no golden samples.

    Raises:
        ModelLoadError: An answer is farther off than the tolerance allows, or the samples are not for this model.
    """
    path = samples_path(file, GOLDEN)
    arrays = read_samples(path)
    if arrays is None:
        return ""
    passed: list[str] = []
    for name, samples in _samples(path, arrays, signatures, default_signature).items():
        signature = signatures[name]
        _compare(path, signature, samples, settings.tolerance, is_batched=True)
        if signature.is_mergeable:
            _compare(path, signature, samples, settings.tolerance, is_batched=False)
        ways = "batched and one by one" if signature.is_mergeable else "as one request"
        passed.append(f"{name}: {samples.rows} row{'s' * (samples.rows != 1)} {ways}")
    return f"passed within {settings.tolerance:g} ({'; '.join(passed)})"


def _samples(
    path: Path, arrays: dict[str, NDArray[Any]], signatures: Mapping[str, ServedSignature], default_signature: str
) -> dict[str, _Samples]:
    """Return the samples by signature.

    Raises:
        ModelLoadError: An array is for nothing that this model has, is missing or doesn't fit.
    """
    keys = {name: _keys(signature.spec, name, default_signature) for name, signature in signatures.items()}
    known = {key for of_one in keys.values() for key in of_one}
    unknown = sorted(arrays.keys() - known)
    meant = [name for name, of_one in keys.items() if of_one.keys() & arrays.keys()]
    missing = sorted(key for name in meant for key in keys[name].keys() - arrays.keys())
    if unknown or missing or not meant:
        expected = ", ".join(map(repr, sorted(keys[default_signature])))
        problem = f"the arrays {_listed(unknown)} are for no tensor of this model" if unknown else ""
        if missing:
            problem = f"{problem}{' and ' * bool(problem)}the arrays {_listed(missing)} are missing"
        text = (
            f"{path}: {problem or 'it holds no arrays'}; expected {expected}, and those of another signature with its "
            "name in front: 'SIGNATURE/inputs/NAME'. Write the file again: predictd golden"
        )
        raise ModelLoadError(text)
    return {name: _fitted_samples(path, arrays, signatures[name], keys[name]) for name in meant}


def _keys(spec: SignatureSpec, name: str, default_signature: str) -> dict[str, TensorSpec]:
    inputs = {sample_name(INPUTS, tensor.name, name, default_signature): tensor for tensor in spec.inputs}
    return inputs | {sample_name(OUTPUTS, tensor.name, name, default_signature): tensor for tensor in spec.outputs}


def _fitted_samples(
    path: Path, arrays: dict[str, NDArray[Any]], signature: ServedSignature, keys: dict[str, TensorSpec]
) -> _Samples:
    fits = [fitted(arrays[key], tensor, f"{path}: array {key!r}") for key, tensor in keys.items()]
    inputs, outputs = fits[: len(signature.spec.inputs)], fits[len(signature.spec.inputs) :]
    # Where rows are not each other's equals, as many may go in as the graph wants, and others come out.
    counted = fits if signature.is_mergeable else inputs
    rows = {key: len(array) for key, array in zip(keys, counted, strict=False) if array.ndim}
    if signature.is_mergeable and len(set(rows.values())) > 1:
        shown = ", ".join(f"{key!r} has {count}" for key, count in rows.items())
        text = f"{path}: expected the same number of rows in all arrays of a signature; {shown}"
        raise ModelLoadError(text)
    if 0 in rows.values():
        empty = next(key for key, count in rows.items() if count == 0)
        text = f"{path}: array {empty!r} has no rows, so nothing would be compared; record at least one"
        raise ModelLoadError(text)
    most = max(rows.values(), default=1)
    if signature.is_mergeable and most > MOST_ROWS:
        text = f"{path}: expected at most {MOST_ROWS} rows, which are run one by one too; got {most}: keep a few"
        raise ModelLoadError(text)
    return _Samples(inputs, outputs, most)


def _compare(path: Path, signature: ServedSignature, samples: _Samples, tolerance: float, *, is_batched: bool) -> None:
    sizes = signature.sizes
    way = "as one request" if not sizes else f"in batches of up to {sizes[-1]} rows" if is_batched else "one by one"
    try:
        answers = _answers(signature, samples, is_batched=is_batched)
    except PredictdError as error:
        text = f"{path}: its inputs {way}: {error.message}. {_ADVICE}"
        raise ModelLoadError(text) from error
    for tensor, expected, got in zip(signature.spec.outputs, samples.outputs, answers, strict=True):
        deviation = find_deviation(expected, got, tolerance)
        if deviation is not None:
            row = "" if deviation.row is None else f", row {deviation.row}"
            text = f"{path}: {signature}, output {tensor.name!r}{row} ({way}): {deviation.text}. {_ADVICE}"
            raise ModelLoadError(text)


_ADVICE = (
    "This version is not served. Put the model right, record its answers anew (predictd golden), "
    "or set a larger `tolerance` for this model"
)


def _answers(signature: ServedSignature, samples: _Samples, *, is_batched: bool) -> Arrays:
    if is_batched:
        return rehearse(signature, samples.inputs)
    rows = [rehearse(signature, [array[row : row + 1] for array in samples.inputs]) for row in range(samples.rows)]
    return joined(signature, rows)


def _listed(keys: Sequence[str]) -> str:
    most = 8
    shown = ", ".join(map(repr, keys[:most]))
    return shown if len(keys) <= most else f"{shown} and {len(keys) - most} more"
