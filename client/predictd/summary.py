"""The summary of a served model: what Keras' `summary` is to a model that runs elsewhere.

Owns its lines and the order of inputs and outputs in it. It asks nobody. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from predictd.requests.catalogue import Plan
from predictd.requests.structure_match import flat_names
from predictd.tables import format_table
from predictd_proto.metadata_text import fact_lines
from predictd_proto.structures import Structure

if TYPE_CHECKING:
    from predictd_proto.tensors import TensorSpec


def summary_lines(plan: Plan, endpoint: str) -> list[str]:
    """Return what is served, line by line.

    Args:
        plan: The version and its signature.
        endpoint: Where it is served.
    """
    metadata, spec = plan.metadata, plan.spec
    inputs, outputs = in_order(spec.inputs, spec.input_structure), in_order(spec.outputs, spec.output_structure)
    rows = [["input", tensor.name, tensor.dtype, _shape_text(tensor)] for tensor in inputs]
    rows += [["output", tensor.name, tensor.dtype, _shape_text(tensor)] for tensor in outputs]
    return [
        f'Model: "{metadata.name}", version {metadata.version}, served at {endpoint}',
        *format_table(["", "Name", "Dtype", "Shape"], rows).splitlines(),
        # The tensors are in the table, in the order that Keras has them in.
        *fact_lines(metadata, shows_tensors=False),
    ]


def _shape_text(tensor: TensorSpec) -> str:
    return f"({', '.join(tensor.axes)}{',' * (len(tensor.axes) == 1)})"


def in_order(specs: Sequence[TensorSpec], structure: Structure) -> list[TensorSpec]:
    """Return tensors in Keras' order."""
    by_name = {spec.name: spec for spec in specs}
    return [by_name[name] for name in flat_names(structure)]
