"""A served signature: a loaded graph with the rules that requests for it must follow and what its runs cost.

Owns the check of a request's tensors against a signature. What its runs cost is `run_costs.py`'s. Checks run on the
pump.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from predictd_proto.errors import TensorMismatchError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.reply_template import ReplyTemplate
from predictd_proto.tensors import DTYPE_BYTES, Tensor, TensorSpec
from predictd_server.models.settings import ModelSettings
from predictd_server.serving.lengths import FreeAxes, LengthPolicy, length_policy
from predictd_server.serving.run_costs import RunCosts

if TYPE_CHECKING:
    from predictd_server.runner import Runner

#: Stands for "nothing was set": each signature makes its own of it, with its model's name.
_NOTHING_SET = ModelSettings(name="", path=Path())

_NOTHING_KNOWN = FreeAxes()


@dataclass(slots=True, eq=False)
class ServedSignature:
    """One signature of one model version, ready to run.

    Attributes:
        model: The model's name.
        version: Its version.
        spec: Inputs and outputs.
        runner: Runs the graph.
        sizes: Allowed batch sizes, ascending; empty when rows of several requests can't share a run.
        settings: What is set for its model.
        axes: How its free axes hang together.
        is_repeatable: The same inputs give the same answers, and asking changes nothing; only such answers are kept.
        count_bound: The most rows of a request that count while they wait, where that is less than a batch.
        open_requests: Requests for it that were admitted and have no answer yet. Written by the pump, read by any
            thread. Once the core's `seen_generation` is past the change that took it out of the registry, it never
            rises again.
        open_runs: Runs of it that go on: one outlives its requests where those are cancelled. Likewise.
        costs: What its runs take.
        is_cached: Its answers are kept, and requests that ask the same share one.
        lengths: What becomes of rows that differ in shape; None where they can't.
        has_string_inputs: Rows of its inputs differ in bytes.
        has_fixed_outputs: A row of an output has the same number of bytes in all replies to rows of one shape.
        has_free_outputs: Rows of its outputs may differ in shape.
        most_counted_rows: The most rows of a request that count while they wait.
        reply_templates: What replies of one kind share; the pump's.
    """

    model: str
    version: int
    spec: SignatureSpec
    runner: Runner
    sizes: tuple[int, ...]
    settings: ModelSettings = _NOTHING_SET
    axes: FreeAxes = _NOTHING_KNOWN
    is_repeatable: bool = True
    count_bound: int = sys.maxsize
    open_requests: int = 0
    open_runs: int = 0
    costs: RunCosts = field(init=False)
    input_names: tuple[str, ...] = field(init=False)
    is_cached: bool = field(init=False)
    lengths: LengthPolicy | None = field(init=False)
    has_string_inputs: bool = field(init=False)
    has_fixed_outputs: bool = field(init=False)
    has_free_outputs: bool = field(init=False)
    most_counted_rows: int = field(init=False)
    reply_templates: dict[object, ReplyTemplate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.settings is _NOTHING_SET:
            self.settings = replace(_NOTHING_SET, name=self.model)
        self.input_names = tuple(spec.name for spec in self.spec.inputs)
        self.has_string_inputs = any(spec.dtype == "string" for spec in self.spec.inputs)
        outputs = self.spec.outputs
        self.most_counted_rows = min(self.count_bound, max(self.sizes, default=sys.maxsize))
        self.has_fixed_outputs = self.is_mergeable and all(tensor.dtype != "string" for tensor in outputs)
        self.has_free_outputs = any(None in tensor.shape[1:] for tensor in outputs)
        self.is_cached = self.settings.cache_bytes > 0 and self.is_repeatable
        self.lengths = length_policy(str(self), self.spec, self.settings, self.axes)
        self.costs = RunCosts(has_shapes=self.lengths is not None)

    @property
    def is_needed(self) -> bool:
        """Whether a request or a run still needs its graph. Any thread."""
        # In this order: a run begins only while there is a request for it.
        return self.open_requests > 0 or self.open_runs > 0

    @property
    def is_mergeable(self) -> bool:
        """Whether rows of several requests may share a run."""
        return bool(self.sizes)

    def check(self, tensors: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], int]:
        """Return the tensors in the signature's order, and their rows.

        Raises:
            TensorMismatchError: A name, dtype, shape, length or the number of rows is wrong.
        """
        ordered = tuple(tensors) if len(tensors) == 1 else self._in_order(tensors)
        rows = -1
        for tensor, spec in zip(ordered, self.spec.inputs, strict=False):
            if tensor.name != spec.name:
                raise self._wrong_names(tensors)
            if tensor.dtype != spec.dtype or not _fits(tensor.shape, spec.shape):
                raise self._mismatch(tensor, spec)
            if spec.shape:
                rows = self._same_rows(rows, tensor)
        if len(ordered) != len(self.input_names):
            raise self._wrong_names(tensors)
        if self.lengths is not None:
            self.lengths.check(ordered)
        return ordered, max(rows, 0) if self.is_mergeable else max(rows, 1)

    def _in_order(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        by_name = {tensor.name: tensor for tensor in tensors}
        if len(tensors) != len(self.input_names) or by_name.keys() != set(self.input_names):
            raise self._wrong_names(tensors)
        return tuple(by_name[name] for name in self.input_names)

    def _same_rows(self, rows: int, tensor: Tensor) -> int:
        if rows not in (-1, tensor.shape[0]) and self.is_mergeable:
            text = (
                f"{self}: its inputs have different numbers of rows: {self.input_names[0]!r} has {rows}, "
                f"{tensor.name!r} has {tensor.shape[0]}; axis 0 counts the rows and must be the same in all"
            )
            raise TensorMismatchError(text)
        return tensor.shape[0]

    def _wrong_names(self, tensors: Sequence[Tensor]) -> TensorMismatchError:
        got = ", ".join(repr(tensor.name) for tensor in tensors) or "none"
        expected = ", ".join(f"{spec.name!r} {spec}" for spec in self.spec.inputs)
        return TensorMismatchError(
            f"{self}: expected the inputs {expected}; got {got}; pass each of them once, by name"
        )

    def _mismatch(self, tensor: Tensor, spec: TensorSpec) -> TensorMismatchError:
        text = f"{self}: input {spec.name!r}: expected {spec}, got {tensor}"
        if tensor.dtype == spec.dtype and _fits((1, *tensor.shape), spec.shape):
            text += "; add an axis for the rows: x[None]"
        elif tensor.dtype != spec.dtype:
            text += f"; cast it to {spec.dtype}, or let RemoteModel do so"
        return TensorMismatchError(text, {"tensor": spec.name, "expected": str(spec), "got": str(tensor)})

    def __str__(self) -> str:
        return f"model {self.model!r} version {self.version}, signature {self.spec.name!r}"


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    if len(shape) != len(expected):
        return False
    return all(want is None or have == want for have, want in zip(shape, expected, strict=True))


def is_mergeable(spec: SignatureSpec) -> bool:
    """Whether rows of several requests may share a run: axis 0 is free in every input and output."""
    return bool(spec.inputs) and all(
        len(tensor.shape) > 0 and tensor.shape[0] is None for tensor in (*spec.inputs, *spec.outputs)
    )


def row_bytes(spec: SignatureSpec) -> int:
    """Return the bytes of one row of all inputs; free axes and strings count as nothing."""
    total = 0
    for tensor in spec.inputs:
        total += math.prod(axis or 0 for axis in tensor.shape[1:]) * DTYPE_BYTES.get(tensor.dtype, 0)
    return total
