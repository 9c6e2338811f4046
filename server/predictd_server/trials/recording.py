"""Recordings: one real request, from which inputs of any number of rows are made.

Owns which of its rows are taken. It knows numpy only and never says what an answer should be. Loader thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_proto.tensors import TensorSpec


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One recorded request. It takes the place of a probe where a graph takes no made-up inputs.

    Attributes:
        specs: The inputs.
        arrays: Their values, in that order; those whose axis 0 is free have the same number of rows.
        origin: Where it was recorded, for texts.
    """

    specs: tuple[TensorSpec, ...]
    arrays: tuple[NDArray[Any], ...]
    origin: str

    def inputs(self, rows: int, seed: int = 0) -> list[NDArray[Any]]:
        """Return inputs of a number of rows: the recorded ones in turn. Seed 0 begins with the first, others don't."""
        return [self._input(array, spec, rows, seed) for array, spec in zip(self.arrays, self.specs, strict=True)]

    def first_row(self) -> Recording:
        """Return a recording of the first row alone."""
        arrays = [
            array[:1] if spec.shape[:1] == (None,) else array
            for array, spec in zip(self.arrays, self.specs, strict=True)
        ]
        return replace(self, arrays=tuple(arrays))

    @staticmethod
    def _input(array: NDArray[Any], spec: TensorSpec, rows: int, seed: int) -> NDArray[Any]:
        if spec.shape[:1] != (None,):
            return array
        start = 1 + seed % (len(array) - 1) if seed and len(array) > 1 else 0
        return np.ascontiguousarray(array[(np.arange(rows) + start) % len(array)])
