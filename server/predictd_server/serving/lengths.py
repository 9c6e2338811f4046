"""Lengths: what becomes of rows whose free axes may have any length.

Owns the policy: which lengths are taken, to which shape rows are padded, and what of an output is padding's answer and
is cut off again. The copies are `assembly.py`'s and `replies.py`'s; what a graph does with its axes is found out by
`trials/free_axes.py`. Built on the loader thread; then pump thread, and whichever thread runs a batch reads `pads`.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_proto.errors import ModelLoadError, TensorMismatchError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import DTYPE_BYTES, STRING, Tensor, TensorSpec
from predictd_server.models.settings import PAD, SERVE, ModelSettings

_log = logging.getLogger(__name__)

Shape = tuple[int, ...]

#: What is remembered of one signature, at most: fits of requests' shapes, and shapes that were asked for.
MOST_FITS = 1024
MOST_SHAPES = 4096

#: New shapes are worth a line of log each, but not thousands of lines.
MOST_WARNINGS = 20

#: What elements of so many bytes are copied as.
_OPAQUE: dict[int, np.dtype[Any]] = {
    1: np.dtype("u1"),
    2: np.dtype("u2"),
    4: np.dtype("u4"),
    8: np.dtype("u8"),
    16: np.dtype("c16"),
}


@dataclass(frozen=True, slots=True, order=True)
class Axis:
    """One axis of one input or output, by number; axis 0 is never meant."""

    tensor: int
    axis: int


@dataclass(frozen=True, slots=True)
class FreeAxes:
    """How a graph's free axes hang together, as its runs have shown.

    Attributes:
        agreeing: Groups of input axes that the graph takes only when all of a group are equally long.
        followed: Output axis -> an input axis that it is always as long as.
        uncertain: Output axes whose length depends on the inputs' in another way.
    """

    agreeing: tuple[tuple[Axis, ...], ...] = ()
    followed: tuple[tuple[Axis, Axis], ...] = ()
    uncertain: tuple[Axis, ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """What is cut off an output: `axis` is `length` long without the padding, `padded` with it."""

    axis: int
    padded: int
    length: int


@dataclass(frozen=True, slots=True)
class Fit:
    """What becomes of rows of certain shapes.

    Attributes:
        shapes: The shape that a row of each input is padded to.
        cuts: Per output, what is cut off again; None where nothing of any is.
    """

    shapes: tuple[Shape, ...]
    cuts: tuple[tuple[Cut, ...], ...] | None = None


class LengthPolicy:
    """What becomes of the free axes of one signature's inputs, other than the rows'.

    Args:
        name: The signature, for errors.
        spec: Its inputs and outputs.
        settings: Its model's.
        axes: How its free axes hang together.

    Attributes:
        pads: Per input, what its padding is filled with, as an element of opaque bits; None for strings.

    Raises:
        ModelLoadError: The padding's value is none of an input's dtype.
    """

    def __init__(self, name: str, spec: SignatureSpec, settings: ModelSettings, axes: FreeAxes) -> None:
        self._name = name
        self._inputs = spec.inputs
        self._outputs = len(spec.outputs)
        self._free = [
            Axis(index, axis)
            for index, tensor in enumerate(spec.inputs)
            for axis, length in enumerate(tensor.shape)
            if axis and length is None
        ]
        self._lengths = settings.lengths
        self._is_padding = settings.unseen_lengths == PAD and bool(settings.lengths)
        self._is_serving = settings.unseen_lengths == SERVE or not settings.lengths
        self._axes = axes
        self._fits: dict[tuple[Shape, ...], Fit] = {}
        self._shapes: set[tuple[Shape, ...]] = set()
        self.pads = [pad_element(spec, settings.pad_value, name) if self._is_padding else None for spec in spec.inputs]

    def check(self, tensors: Sequence[Tensor]) -> None:
        """Check the lengths of a request's free axes.

        Raises:
            TensorMismatchError: One is not allowed; the text names those that are.
        """
        if self._is_serving:
            return
        for free in self._free:
            length = tensors[free.tensor].shape[free.axis]
            if length > self._lengths[-1] if self._is_padding else length not in self._lengths:
                raise self._wrong_length(tensors[free.tensor], free.axis)
        for group in self._axes.agreeing:
            lengths = {tensors[axis.tensor].shape[axis.axis] for axis in group}
            if len(lengths) > 1:
                raise self._different_lengths(tensors, group)

    def fit(self, tensors: Sequence[Tensor]) -> Fit:
        """Return what becomes of a request's rows; its lengths were checked."""
        shapes = tuple([tensor.shape[1:] for tensor in tensors])
        fit = self._fits.get(shapes)
        if fit is None:
            if len(self._fits) >= MOST_FITS:
                self._fits.clear()
            fit = self._fits[shapes] = self._new_fit(shapes)
        return fit

    def note(self, shapes: tuple[Shape, ...]) -> bool:
        """Return whether rows of such shapes come for the first time and were not prepared for; the log hears of it."""
        if shapes in self._shapes or len(self._shapes) >= MOST_SHAPES:
            return False
        if self._lengths and all(shapes[free.tensor][free.axis - 1] in self._lengths for free in self._free):
            return False
        self._shapes.add(shapes)
        self._warn(shapes)
        return True

    def _warn(self, shapes: tuple[Shape, ...]) -> None:
        if not self._lengths:
            if len(self._shapes) == MOST_WARNINGS:
                text = "%s: its requests came in %d shapes, which never share a run; set lengths to bring them together"
                _log.warning(text, self._name, MOST_WARNINGS)
            return
        level = logging.WARNING if len(self._shapes) <= MOST_WARNINGS else logging.DEBUG
        _log.log(level, "%s: rows of a new shape, %s; the lengths are %s", self._name, _text(shapes), self._allowed())

    def _new_fit(self, shapes: tuple[Shape, ...]) -> Fit:
        if not self._is_padding:
            return Fit(shapes)
        padded = [list(shape) for shape in shapes]
        for free in self._free:
            length = shapes[free.tensor][free.axis - 1]
            padded[free.tensor][free.axis - 1] = self._lengths[bisect_left(self._lengths, length)]
        cuts: list[list[Cut]] = [[] for _ in range(self._outputs)]
        for output, source in self._axes.followed:
            before, after = shapes[source.tensor][source.axis - 1], padded[source.tensor][source.axis - 1]
            if before != after:
                cuts[output.tensor].append(Cut(output.axis, after, before))
        whole = tuple(map(tuple, cuts))
        return Fit(tuple(map(tuple, padded)), whole if any(whole) else None)

    def _allowed(self) -> str:
        return ", ".join(map(str, self._lengths))

    def _wrong_length(self, tensor: Tensor, axis: int) -> TensorMismatchError:
        expected = f"at most {self._lengths[-1]}" if self._is_padding else f"one of {self._allowed()}"
        advice = "cut it" if self._is_padding else "cut or pad it"
        text = (
            f"{self._name}: input {tensor.name!r} {tensor}: axis {axis} is {tensor.shape[axis]} long, expected "
            f"{expected}; the lengths set for this model are {self._allowed()}: {advice}, or have more of them set"
        )
        return TensorMismatchError(text, {"tensor": tensor.name, "expected": expected, "got": str(tensor)})

    def _different_lengths(self, tensors: Sequence[Tensor], group: Sequence[Axis]) -> TensorMismatchError:
        got = ", ".join(
            f"{self._inputs[axis.tensor].name!r} axis {axis.axis} is {tensors[axis.tensor].shape[axis.axis]} long"
            for axis in group
        )
        # Padded they would agree, and the model would not notice.
        text = f"{self._name}: expected inputs of one length; got {got}; pass as many of each"
        return TensorMismatchError(text, {"tensor": self._inputs[group[0].tensor].name, "got": got})


def length_policy(name: str, spec: SignatureSpec, settings: ModelSettings, axes: FreeAxes) -> LengthPolicy | None:
    """Return the policy for a signature; None where no input has a free axis but the rows'.

    Raises:
        ModelLoadError: The padding's value is none of an input's dtype.
    """
    if not any(None in tensor.shape[1:] for tensor in spec.inputs):
        return None
    return LengthPolicy(name, spec, settings, axes)


def pad_element(spec: TensorSpec, value: float, name: str) -> NDArray[Any] | None:
    """Return a value as one element of an input, as opaque bits; None for strings, which are padded with empty ones.

    Raises:
        ModelLoadError: The dtype has no such value.
    """
    if spec.dtype == STRING:
        return None
    with np.errstate(all="ignore"):
        tensor = Tensor.from_array(spec.name, np.array([value]), spec.dtype)
        kept = tensor.view().astype(np.complex128)[0]
    is_kept = kept == value if "float" not in spec.dtype else np.isfinite(kept) == np.isfinite(value)
    if not is_kept:
        text = f"{name}: pad_value = {value:g} is no {spec.dtype}, which its input {spec.name!r} is; set another"
        raise ModelLoadError(text)
    return np.frombuffer(tensor.data, opaque(spec.dtype))


def opaque(dtype: str) -> np.dtype[Any]:
    """Return a dtype for copying elements of one on the wire, whatever their bits mean."""
    return _OPAQUE[DTYPE_BYTES[dtype]]


def shape_bytes(inputs: Sequence[TensorSpec], shapes: Sequence[Shape]) -> int:
    """Return the bytes of one row of all inputs in some shapes; strings count as nothing."""
    sizes = (DTYPE_BYTES.get(spec.dtype, 0) * prod(shape) for spec, shape in zip(inputs, shapes, strict=True))
    return sum(sizes)


def _text(shapes: Sequence[Shape]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)
