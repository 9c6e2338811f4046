"""Probes: inputs that a model takes, found by trying: made-up ones, and where none will do, recorded ones.

Owns the choice of values and of lengths for free axes. It knows numpy only and never says what an answer should be.
Loader thread.

A spec says dtype and shape and nothing of the values a graph accepts: an id beyond a vocabulary raises, and so does an
image smaller than its pooling. So a few kinds of values are tried, the most telling first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_proto.dtypes import BFLOAT16, DTYPE_BYTES, NUMPY_DTYPES, STRING
from predictd_proto.tensors import TensorSpec
from predictd_server.runner import Arrays
from predictd_server.trials.recording import Recording

#: Lengths tried for free axes other than the rows'. 16 suits sequences, the larger ones images, 1 the rest.
FREE_LENGTHS = (16, 64, 224, 1)
#: A probe's second set of values.
OTHER_SEED = 1000
#: A PNG image of one grey pixel: what a graph that decodes images takes where a text is asked for.
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
_WORDS = np.array([b"alpha", b"beta gamma", b"delta", b"epsilon zeta eta"], dtype=object)


class Fill(Enum):
    """Which values a probe is filled with, from the most telling to the safest."""

    WIDE = "wide"
    NARROW = "narrow"
    ZEROS = "zeros"
    ONES = "ones"
    IMAGES = "images"


@dataclass(frozen=True, slots=True)
class Probe:
    """A way to make inputs that a certain graph takes.

    Attributes:
        specs: The inputs.
        fill: Their values.
        free_length: The length of every free axis but the first.
    """

    specs: tuple[TensorSpec, ...]
    fill: Fill
    free_length: int

    def inputs(self, rows: int, seed: int = 0, length: int | None = None) -> list[NDArray[Any]]:
        """Return inputs of a number of rows (a fixed axis 0 keeps its length). One seed gives the same values.

        Args:
            rows: The length of each free axis 0.
            seed: Chooses the values.
            length: The length of the other free axes; None for the probe's own.
        """
        free_length = self.free_length if length is None else length
        return [self._input(spec, rows, seed + index, free_length) for index, spec in enumerate(self.specs)]

    def _input(self, spec: TensorSpec, rows: int, seed: int, free_length: int) -> NDArray[Any]:
        lengths = tuple(free_length if axis is None else axis for axis in spec.shape[1:])
        if not spec.shape:
            shape: tuple[int, ...] = ()
        else:
            shape = (rows if spec.shape[0] is None else spec.shape[0], *lengths)
        return _values(np.random.default_rng(seed), spec.dtype, shape, self.fill)


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe, or a recorded request, that a graph took.

    Attributes:
        probe: The probe.
        inputs: The inputs it made.
        outputs: What the graph answered.
    """

    probe: Probe | Recording
    inputs: list[NDArray[Any]]
    outputs: Arrays


def find_probe(
    run: Callable[[Arrays], Arrays], specs: Sequence[TensorSpec], rows: int, recordings: Sequence[Recording] = ()
) -> Probed:
    """Return the first probe that a graph takes, preferring one with finite answers, and made-up to recorded ones.

    Args:
        run: Runs the graph.
        specs: Its inputs.
        rows: Rows to try with: as many as will be run later, since a few rows may be in range by luck.
        recordings: Requests recorded for it.

    Raises:
        Exception: What the graph raised for the first recorded request, else for zeros, when it took no probe at all.
    """
    errors: dict[Probe | Recording, Exception] = {}
    infinite: Probed | None = None
    candidates: list[Probe | Recording] = [*_probes(tuple(specs)), *recordings]
    for probe in candidates:
        inputs = probe.inputs(rows)
        try:
            run(probe.inputs(rows, seed=OTHER_SEED))
            # What many rows have by luck, such as one that isn't empty, a row alone may not have.
            run(probe.inputs(1))
            outputs = run(inputs)
        except Exception as error:
            errors[probe] = error
            continue
        found = Probed(probe, inputs, outputs)
        if all(_is_finite(output) for output in outputs):
            return found
        infinite = infinite or found
    if infinite is not None:
        return infinite
    if recordings:  # what was recorded is what it should take
        raise errors[recordings[0]]
    raise next(error for probe, error in errors.items() if isinstance(probe, Probe) and probe.fill is Fill.ZEROS)


def steady_probes(specs: tuple[TensorSpec, ...]) -> list[Probe]:
    """Return the probes whose rows are all alike."""
    return [probe for probe in _probes(specs) if probe.fill not in {Fill.WIDE, Fill.NARROW}]


def row_bytes(specs: Sequence[TensorSpec], free_length: int = FREE_LENGTHS[0]) -> int:
    """Return the bytes of one row of all inputs, with a length for the free axes; a string counts as 16."""
    sizes = (
        math.prod(free_length if axis is None else axis for axis in spec.shape[1:]) * DTYPE_BYTES.get(spec.dtype, 16)
        for spec in specs
    )
    return sum(sizes)


def _probes(specs: tuple[TensorSpec, ...]) -> list[Probe]:
    has_free_axes = any(None in spec.shape[1:] for spec in specs)
    # Ones are for what nothing can be the length of, or be divided by.
    fills = [Fill.WIDE, Fill.NARROW, Fill.ZEROS, Fill.ONES]
    if any(spec.dtype == STRING for spec in specs):
        fills.append(Fill.IMAGES)
    lengths = FREE_LENGTHS if has_free_axes else FREE_LENGTHS[:1]
    return [Probe(specs, fill, length) for length in lengths for fill in fills]


def _values(random: np.random.Generator, dtype: str, shape: tuple[int, ...], fill: Fill) -> NDArray[Any]:
    if dtype == STRING:
        return _strings(random, shape, fill)
    kind = _numpy_dtype(dtype)
    if fill in {Fill.ZEROS, Fill.IMAGES}:
        return np.zeros(shape, kind)
    if fill is Fill.ONES:
        return np.ones(shape, kind)
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(kind)
    if "int" in dtype:
        # Bytes are pixels; other whole numbers may be ids, and every vocabulary has its first few.
        below = 256 if dtype == "uint8" else 10
        return random.integers(0, below if fill is Fill.WIDE else 2, shape).astype(kind)
    return (random.standard_normal(shape) if fill is Fill.WIDE else random.random(shape)).astype(kind)


def _strings(random: np.random.Generator, shape: tuple[int, ...], fill: Fill) -> NDArray[Any]:
    if fill is Fill.WIDE:
        return np.asarray(_WORDS[random.integers(0, len(_WORDS), shape)], dtype=object)
    texts = {Fill.NARROW: b"0", Fill.ZEROS: b"", Fill.ONES: b"1", Fill.IMAGES: _PIXEL}
    return np.full(shape, texts[fill], dtype=object)


def _numpy_dtype(dtype: str) -> np.dtype[Any]:
    if dtype == BFLOAT16:
        import ml_dtypes

        short: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return short
    native: np.dtype[Any] = NUMPY_DTYPES[dtype].newbyteorder("=")
    return native


def _is_finite(output: NDArray[Any]) -> bool:
    return output.dtype.kind not in "fcV" or bool(np.isfinite(output).all())
