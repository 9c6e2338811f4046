"""Output sizes: what one signature's large outputs will take in shared memory.

Owns what its shapes say of that, and what answers showed where they say nothing. By the shapes of the inputs: small
requests are the many, and one large answer to another must not cost each of them a place for outputs. Any thread:
single dict operations only.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from predictd_proto.metadata import SignatureSpec
from predictd_proto.segments import aligned, may_be_placed
from predictd_proto.tensors import DTYPE_BYTES, Tensor

#: Shapes of inputs; those that come in any shape must not make this grow.
MAX_SHAPES = 256

Shapes = tuple[tuple[int, ...], ...]


class OutputSizes:
    """Those of one signature.

    Args:
        spec: The signature.
    """

    __slots__ = ("_largest", "_seen", "_spec")

    def __init__(self, spec: SignatureSpec) -> None:
        self._spec = spec
        self._seen: dict[Shapes, dict[str, int]] = {}
        self._largest: dict[str, int] = {}

    def expected_bytes(self, rows: int | None, shapes: Shapes, *, is_large: bool) -> int:
        """Return what large outputs will take together; 0 where none is, or nothing is known of their size.

        Args:
            rows: How many rows are sent; None where that says nothing of the outputs.
            shapes: The inputs'.
            is_large: Whether an input is shared anyway: then the largest outputs of other shapes are a fair guess.
        """
        seen = self._seen.get(_key(rows, shapes))
        if seen is None:
            seen = self._largest if is_large else {}
        total = 0
        for spec in self._spec.outputs:
            axes = (rows, *spec.shape[1:]) if spec.shape and spec.shape[0] is None else spec.shape
            if None in axes:
                size = seen.get(spec.name, 0) * (1 if rows is None else rows)
            else:
                size = prod([axis or 0 for axis in axes]) * DTYPE_BYTES.get(spec.dtype, 0)
            if may_be_placed(spec.dtype, size):
                total = aligned(total + size)
        return total

    def see(self, tensors: Sequence[Tensor], rows: int | None, shapes: Shapes) -> bool:
        """Remember the sizes of outputs, in the signature's order; return whether more will be expected now."""
        grew = False
        for spec, tensor in zip(self._spec.outputs, tensors, strict=True):
            if None in spec.shape[1:] or (rows is None and None in spec.shape):
                grew |= self._see(spec.name, -(-len(tensor.data) // (rows or 1)), _key(rows, shapes))
        return grew

    def _see(self, name: str, size: int, key: Shapes) -> bool:
        self._largest[name] = max(size, self._largest.get(name, 0))
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= MAX_SHAPES:
                self._seen.clear()
            seen = self._seen.setdefault(key, {})
        if size <= seen.get(name, 0):
            return False
        seen[name] = size
        return True


def _key(rows: int | None, shapes: Shapes) -> Shapes:
    return shapes if rows is None else tuple([shape[1:] for shape in shapes])
