"""What `predict` takes besides arrays: generators, Sequence-like objects, data sets.

Owns telling them apart and turning them into one batch after the other. The caller's thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any


def is_stream(x: Any) -> bool:
    """Whether x gives batches one by one, rather than being all the rows itself."""
    if isinstance(x, (Mapping, list, tuple, str, bytes)) or hasattr(x, "__array__"):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def batches_of(stream: Any, steps: int | None) -> Iterator[Any]:
    """Return a stream's batches: of (inputs, targets, weights) tuples the inputs, as Keras does.

    Args:
        stream: A generator, an iterable, or an object with `__len__` and `__getitem__`.
        steps: How many batches to take; None for all.
    """
    batches: Iterable[Any]
    if hasattr(stream, "__getitem__") and hasattr(stream, "__len__"):
        # By position: an object like `keras.utils.PyDataset` may be endless as an iterator.
        batches = (stream[position] for position in range(len(stream)))
    else:
        batches = iter(stream)
    for batch in islice(batches, steps):
        yield batch[0] if isinstance(batch, tuple) and batch else batch


def batch_count(stream: Any, steps: int | None) -> int | None:
    """Return how many batches a stream will give; None where it doesn't tell."""
    try:
        count = len(stream)
    except TypeError:
        return steps
    return count if steps is None else min(count, steps)
