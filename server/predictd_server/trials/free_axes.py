"""How a graph's free axes hang together: which must be equally long, and which of an output's follow an input's.

Owns the experiments that show it: runs in which one axis, or as few as the graph takes, have another length. Without
them nothing would be known of what padding does to the shape of an answer: a spec only says that an axis is free. It
knows numpy only. Loader thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import combinations

from predictd_proto.metadata import SignatureSpec
from predictd_server.runner import Arrays, LoadedSignature
from predictd_server.serving.lengths import Axis, FreeAxes

_log = logging.getLogger(__name__)

_ROWS = 2

#: A graph with more free axes is tried with all of them at one length and no other: the tries grow with their cube.
_MOST_AXES = 8

#: Axes that agree with one, by which smaller groups are found: ids, mask and positions are three.
_MOST_PARTNERS = 3

Shapes = list[tuple[int, ...]]


def find_free_axes(signature: LoadedSignature, lengths: Sequence[int]) -> FreeAxes:
    """Return what runs with different lengths show; nothing where the graph takes no made-up input of two lengths.

    Args:
        signature: What to run.
        lengths: Those that requests will be padded to, ascending.
    """
    free = [
        Axis(index, axis)
        for index, spec in enumerate(signature.spec.inputs)
        for axis, length in enumerate(spec.shape)
        if axis and length is None
    ]
    if not free or signature.synthesise is None:
        return FreeAxes()
    pair = _two_lengths(signature, lengths)
    if pair is None or len(free) > _MOST_AXES:
        _log.info("signature %r: how its free axes hang together is not known", signature.spec.name)
        return FreeAxes()
    return _Trial(signature, free, *pair).found(lengths[-1])


class _Trial:
    """Runs of one signature in which some axes are short and some long."""

    def __init__(self, signature: LoadedSignature, free: Sequence[Axis], short: int, long: int) -> None:
        self._signature = signature
        self._free = free
        self._short, self._long = short, long

    def found(self, longest: int) -> FreeAxes:
        """Return what is certain, also at the longest length that will be asked for."""
        base = self._shapes(())
        if base is None:
            return FreeAxes()
        groups = self._groups()
        changes = {group: self._shapes(group) for group in groups}
        followed: list[tuple[Axis, Axis]] = []
        uncertain: list[Axis] = []
        for output in _axes_of(base):
            causes = [
                group for group, shapes in changes.items() if shapes is None or _at(shapes, output) != _at(base, output)
            ]
            if not causes:
                continue
            if len(causes) == 1 and self._follows(output, base, changes[causes[0]]):
                followed.append((output, causes[0][0]))
            else:
                uncertain.append(output)
        limited = self._limited([output for output, _ in followed], longest)
        return FreeAxes(
            agreeing=tuple(group for group in groups if len(group) > 1),
            followed=tuple(pair for pair in followed if pair[0] not in limited),
            uncertain=tuple(sorted({*uncertain, *limited})),
        )

    def _follows(self, output: Axis, base: Shapes, changed: Shapes | None) -> bool:
        return changed is not None and _at(base, output) == self._short and _at(changed, output) == self._long

    def _limited(self, outputs: Sequence[Axis], longest: int) -> set[Axis]:
        """Return the output axes that stop to follow somewhere: a graph may cut what is long."""
        shapes = _shapes_of(_run(self._signature, longest))
        return {output for output in outputs if shapes is None or _at(shapes, output) != longest}

    def _groups(self) -> list[tuple[Axis, ...]]:
        """Return the free inputs' axes in the smallest groups that can be long while the others are short."""
        groups: list[tuple[Axis, ...]] = []
        left = list(self._free)
        while left:
            group = self._smallest_with(left[0], left)
            groups.append(group)
            left = [axis for axis in left if axis not in group]
        return groups

    def _smallest_with(self, wanted: Axis, axes: Sequence[Axis]) -> tuple[Axis, ...]:
        others = [axis for axis in axes if axis != wanted]
        for more in range(min(len(others), _MOST_PARTNERS) + 1):
            for partners in combinations(others, more):
                if self._shapes((wanted, *partners)) is not None:
                    return (wanted, *partners)
        return (wanted, *others)

    def _shapes(self, long: Collection[Axis]) -> Shapes | None:
        """Return the outputs' shapes where some axes are long; None where the graph does not take that."""
        make = self._signature.synthesise
        assert make is not None
        inputs = list(make(_ROWS, length=self._long))
        for axis in self._free:
            if axis not in long:
                inputs[axis.tensor] = inputs[axis.tensor][(slice(None),) * axis.axis + (slice(self._short),)]
        return _shapes_of(lambda: self._signature.runner.run([array.copy() for array in inputs]))


def _two_lengths(signature: LoadedSignature, lengths: Sequence[int]) -> tuple[int, int] | None:
    """Return two lengths that the graph takes, the shorter first. An axis of one may stand for all, so not that."""
    taken: list[int] = []
    for length in _candidates(lengths):
        if length > 1 and length not in taken and _takes(signature, length):
            taken.append(length)
            if len(taken) == 2:  # noqa: PLR2004  (a pair)
                return min(taken), max(taken)
    return None


def _candidates(lengths: Sequence[int]) -> Iterator[int]:
    yield from lengths
    yield from (lengths[-1] + 1, lengths[-1] * 2)


def _takes(signature: LoadedSignature, length: int) -> bool:
    make = signature.synthesise
    if make is None or _shapes_of(_run(signature, length)) is None:
        return False
    # Recorded requests stand in for made-up ones where a graph takes none of these, and have lengths of their own.
    return all(
        axis == length
        for array, spec in zip(make(_ROWS, length=length), signature.spec.inputs, strict=True)
        for axis, known in list(zip(array.shape, spec.shape, strict=True))[1:]
        if known is None
    )


def _run(signature: LoadedSignature, length: int) -> Callable[[], Arrays]:
    make = signature.synthesise
    assert make is not None
    return lambda: signature.runner.run(make(_ROWS, length=length))


def _shapes_of(run: Callable[[], Arrays]) -> Shapes | None:
    try:
        return [array.shape for array in run()]
    except Exception as error:  # a graph may raise anything for lengths that it was not made for
        _log.debug("a run with other lengths failed: %s", error)
        return None


def _axes_of(shapes: Shapes) -> list[Axis]:
    return [Axis(index, axis) for index, shape in enumerate(shapes) for axis in range(1, len(shape))]


def _at(shapes: Shapes, axis: Axis) -> int:
    """Return an axis' length; -1 where the output lost that axis."""
    shape = shapes[axis.tensor]
    return shape[axis.axis] if axis.axis < len(shape) else -1


def note_on(axes: FreeAxes, spec: SignatureSpec) -> str:
    """Return what an operator should know of outputs that come back padded; "" where there are none."""
    if not axes.uncertain:
        return ""
    names = ", ".join(f"{spec.outputs[axis.tensor].name!r} axis {axis.axis}" for axis in axes.uncertain)
    return (
        f"signature {spec.name!r}: of padded requests these come back as long as the padding made them, since their "
        f"length follows no input's alone: {names}"
    )
