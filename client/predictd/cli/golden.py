"""Golden samples written from what a server answers: the inputs as they are sent, and its outputs.

Owns the content of the file. It asks through a client. Main thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from predictd.client import Client
from predictd.prediction import Prediction
from predictd.requests.catalogue import choose_plan
from predictd.requests.fitting import fit_inputs
from predictd.requests.structure_match import match_inputs
from predictd_proto.errors import ConfigError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.sample_names import INPUTS, MOST_ROWS, OUTPUTS, sample_name
from predictd_proto.structures import Structure, fill_structure


def check_golden_output(path: str) -> None:
    """Check the name of the file that golden samples are to be written to.

    Raises:
        ConfigError: It is no .npz file.
    """
    if Path(path).suffix != ".npz":
        text = f"--output {path}: expected a name that ends in .npz"
        raise ConfigError(text)


def golden_samples(
    client: Client, model: str, inputs: Any, version: int | str | None, signature: str | None
) -> tuple[dict[str, Any], Prediction]:
    """Return the arrays of a golden file by name, and the answer that they hold.

    Args:
        client: Whom to ask.
        model: The model's name.
        inputs: As for `Client.predict`, cast to the model's dtypes.
        version: Likewise.
        signature: Likewise.

    Raises:
        ConfigError: There are no rows, or more than a gate takes.
        PredictdError: As `Client.predict`.
    """
    plan = choose_plan(client.models(model), (model, version, signature))
    spec, default = plan.spec, plan.metadata.default_signature
    tensors = fit_inputs(plan.label, spec.inputs, match_inputs(spec, inputs), cast=True, is_lenient=False)
    rows = max((tensor.shape[0] for tensor in tensors if tensor.shape), default=1)
    if not 1 <= rows <= MOST_ROWS:
        text = f"{plan.label}: expected 1 to {MOST_ROWS} rows of golden inputs, got {rows}; choose a few telling ones"
        raise ConfigError(text)
    sent = {tensor.name: tensor.array() for tensor in tensors}
    answer = client.predict(
        model, fill_structure(spec.input_structure, sent), version=plan.metadata.version, signature=spec.name
    )
    arrays = {sample_name(INPUTS, name, spec.name, default): array for name, array in sent.items()}
    for name, array in _outputs(spec, answer.outputs).items():
        arrays[sample_name(OUTPUTS, name, spec.name, default)] = array
    return arrays, answer


def _outputs(spec: SignatureSpec, outputs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    _collect(spec.output_structure, outputs, found)
    return found


def _collect(structure: Structure, value: Any, found: dict[str, Any]) -> None:
    if isinstance(structure, str):
        found[structure] = value
        return
    pairs = structure.items() if isinstance(structure, dict) else enumerate(structure)
    for key, child in pairs:
        _collect(child, value[key], found)
