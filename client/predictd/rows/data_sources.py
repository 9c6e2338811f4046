"""What `predict` takes besides arrays: generators, `PyDataset`-like objects, data sets, data loaders.

Owns telling them apart and turning them into one batch after the other, as Keras does. The caller's thread.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from itertools import count, islice
from typing import Any

from predictd_proto.errors import TensorMismatchError

#: (inputs,), (inputs, targets) or (inputs, targets, weights).
_MOST_PARTS = 3

#: Attributes of what holds all the rows itself, although one can iterate over it.
_HOLDS_ROWS = ("__array__", "__array_interface__", "tocsr")


def is_stream(x: Any) -> bool:
    """Whether x gives batches one by one, rather than being all the rows itself."""
    if isinstance(x, (Mapping, list, tuple, str, bytes)) or any(hasattr(x, name) for name in _HOLDS_ROWS):
        return False
    if hasattr(x, "__getitem__") and hasattr(x, "__len__"):
        return not _is_memory(x)
    return hasattr(x, "__iter__")


def batches_of(stream: Any, steps: int | None) -> Iterator[Any]:
    """Return a stream's batches: of (inputs, targets, weights) tuples the inputs, as Keras does.

    Warns where there are fewer than asked for, as Keras does.

    Args:
        stream: A generator, an iterable, or an object with `__len__` and `__getitem__`.
        steps: How many batches to take; None for all.

    Raises:
        TensorMismatchError: A batch is a tuple of more than three.
    """
    is_loader = any(base.__module__.startswith("torch.utils.data") for base in type(stream).__mro__)
    given = 0
    for batch in _raw_batches(stream, steps):
        given += 1
        yield _inputs_of(tuple(batch) if is_loader and isinstance(batch, list) else batch)
    if steps is not None and given < steps:
        text = f"predict: x gave {given} batches, fewer than steps={steps}: the outputs are those of what came"
        warnings.warn(text, UserWarning, stacklevel=2)


def batch_count(stream: Any, steps: int | None) -> int | None:
    """Return how many batches a stream will give; None where it doesn't tell."""
    known = _length(stream)
    if known is None or steps is None:
        return steps if known is None else known
    return min(known, steps)


def _raw_batches(stream: Any, steps: int | None) -> Iterator[Any]:
    if not hasattr(stream, "__getitem__"):
        # By way of `islice`, which has no `close`: a generator whose rest the caller wants later is not ended.
        yield from islice(stream, steps)
        return
    # By position: an object like `keras.utils.PyDataset` may be endless as an iterator.
    length = _length(stream)
    _tell(stream, "on_epoch_begin")
    for position in islice(count() if length is None else range(length), steps):
        try:
            batch = stream[position]
        except IndexError:
            if length is not None:
                raise
            break  # where a sequence that doesn't tell its length ends
        yield batch
    _tell(stream, "on_epoch_end")


def _tell(stream: Any, what: str) -> None:
    tell = getattr(stream, what, None)
    if callable(tell):
        tell()


def _length(stream: Any) -> int | None:
    try:
        # A `PyDataset` has either, and `num_batches` may be None.
        length: int | None = stream.num_batches if hasattr(stream, "num_batches") else len(stream)
    except (TypeError, NotImplementedError):
        # A generator, or a data set of unknown size.
        return None
    return length


def _inputs_of(batch: Any) -> Any:
    if not isinstance(batch, tuple):
        return batch
    if not 1 <= len(batch) <= _MOST_PARTS:
        text = (
            "a batch of the generator or data set: expected (inputs,), (inputs, targets) or "
            f"(inputs, targets, weights), got a tuple of {len(batch)}; several inputs go into a list or dict"
        )
        raise TensorMismatchError(text)
    return batch[0]


def _is_memory(x: Any) -> bool:
    try:
        memoryview(x).release()
    except TypeError:
        return False
    return True
