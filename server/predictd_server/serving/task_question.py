"""A task's question: what makes the request of a task's next run the same as an earlier one's.

Owns the comparison. Pure; pump thread only.

It is the same for the same task, signature of the same version, and inputs, equal in shape and in every byte. There is
no digest: a run that is under way, and an answer that is kept, have their inputs still, so these are compared
themselves. Each request of a task costs a look at some of its inputs' bytes, however large they are; only where those
agree are the rest compared, until the first difference (0.1 to 0.4 ms for a megabyte). A digest of all bytes would cost
every request of every task 1.3 ms for a megabyte, for an event that hardly any of them will see.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from predictd_proto.tensors import Buffer, Tensor
from predictd_server.serving.pending import Pending
from predictd_server.serving.served import ServedSignature

#: Requests with larger inputs join none and are not kept: the pump would stand still for the comparison.
MOST_BYTES = 64 << 20

#: Inputs up to this size are looked at as a whole, which takes 1.6 us.
WHOLE_BYTES = 4096

#: Bytes that are compared at once.
CHUNK_BYTES = 1 << 16

_WORD = np.dtype("V8")

#: Where the words lie that are looked at of a larger input, in parts of its length; so many take 1.5 us. Drawn, as
#: images of one task have the same border, and places at equal distances may all lie in it.
_PLACES = np.random.default_rng(6).random(128)

TaskKey = tuple[str, ServedSignature, int]


class TaskQuestion:
    """What one request of a task asks; its inputs stay in memory as long as the question does.

    Args:
        task_id: The task's id.
        request: The request.

    Attributes:
        key: What is equal for all that ask the same, and for hardly any others; it never changes.
        tensors: The inputs; those of a client's memory may change as long as they are not copied.
    """

    __slots__ = ("key", "tensors")

    def __init__(self, task_id: str, request: Pending) -> None:
        self.tensors: tuple[Tensor, ...] = request.tensors
        looks = [(tensor.shape, _look(tensor.data)) for tensor in self.tensors]
        self.key: TaskKey = (task_id, request.signature, hash(tuple(looks)))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        # A signature has its inputs' number and dtypes.
        return isinstance(other, TaskQuestion) and self.key == other.key and self.has_inputs(other.tensors)

    @property
    def signature(self) -> ServedSignature:
        """What is asked."""
        return self.key[1]

    def has_inputs(self, tensors: tuple[Tensor, ...]) -> bool:
        """Whether its inputs are these, of the same signature, in shape and in every byte."""
        return all(
            tensor.shape == theirs.shape and _is_equal(tensor.data, theirs.data)
            for tensor, theirs in zip(self.tensors, tensors, strict=True)
        )


def question_of(request: Pending) -> TaskQuestion | None:
    """Return what a request asks for its task; None where no other request can be known to ask the same."""
    if request.task is None or not request.task.id or request.byte_count > MOST_BYTES:
        return None
    return TaskQuestion(request.task.id, request)


def _look(data: Buffer) -> bytes:
    size = len(data)
    if size <= WHOLE_BYTES:
        return bytes(data)
    words = size // _WORD.itemsize
    return np.frombuffer(data, _WORD, words)[_places(words)].tobytes()


@lru_cache(64)
def _places(words: int) -> NDArray[np.intp]:
    return (_PLACES * words).astype(np.intp)


def _is_equal(data: Buffer, other: Buffer) -> bool:
    if data is other:
        return True
    if len(data) != len(other):
        return False
    ours, theirs = memoryview(data), memoryview(other)
    # As bytes: two views are compared element by element, which takes ten times as long as the copies.
    return all(
        bytes(ours[start : start + CHUNK_BYTES]) == bytes(theirs[start : start + CHUNK_BYTES])
        for start in range(0, len(data), CHUNK_BYTES)
    )
