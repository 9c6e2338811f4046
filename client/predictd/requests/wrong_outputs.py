"""Wrong outputs: answers that are not what the signature says, and how that is told.

Owns the comparison of an answer with its own version's signature: names, dtypes, fixed axes, and rows where each row of
the outputs belongs to one of the inputs. It asks nobody. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from predictd_proto.errors import RemoteProtocolError

if TYPE_CHECKING:
    from predictd.requests.catalogue import Plan
    from predictd_proto.tensors import Tensor, TensorSpec


def wrong_outputs(plan: Plan, tensors: Sequence[Tensor], rows: int | None) -> RemoteProtocolError | None:
    """Return the error for an answer that its own version can't have given; None where it is right.

    Args:
        plan: That version's.
        tensors: The outputs.
        rows: How many rows were sent; None where the outputs may have any number.
    """
    rows = rows if plan.is_row_wise else None
    if not plan.fits(tensors):
        return unexpected_names(plan, tensors)
    for spec, tensor in zip(plan.spec.outputs, plan.in_order(tensors), strict=True):
        expected = _at(spec, rows)
        if tensor.dtype == spec.dtype and _has_shape(tensor, expected):
            continue
        where = f"{plan.label}, output {spec.name!r}"
        if rows is not None and spec.shape and tensor.shape and expected[0] != tensor.shape[0]:
            sent = f"{rows} row was" if rows == 1 else f"{rows} rows were"
            got = f"{sent} sent, the server answered {tensor.shape[0]} ({tensor})"
        else:
            got = f"the server answered {tensor}"
        axes = ", ".join("any" if axis is None else str(axis) for axis in expected)
        return RemoteProtocolError(f"{where}: {got}; expected {spec.dtype}[{axes}]")
    return None


def unexpected_names(plan: Plan, tensors: Sequence[Tensor]) -> RemoteProtocolError:
    """Return the error for an answer with other tensors than the signature's outputs."""
    expected = ", ".join(sorted({repr(spec.name) for spec in plan.spec.outputs})) or "none"
    got = ", ".join(sorted({repr(tensor.name) for tensor in tensors})) or "none"
    text = f"{plan.label}: the server answered with outputs {got}; its metadata says {expected}"
    return RemoteProtocolError(text)


def _at(spec: TensorSpec, rows: int | None) -> tuple[int | None, ...]:
    is_free = rows is not None and bool(spec.shape) and spec.shape[0] is None
    return (rows, *spec.shape[1:]) if is_free else spec.shape


def _has_shape(tensor: Tensor, expected: Sequence[int | None]) -> bool:
    if len(tensor.shape) != len(expected):
        return False
    return all(wanted is None or length == wanted for length, wanted in zip(tensor.shape, expected, strict=True))
