"""Answers kept for requests that come again: of one model, up to so many bytes, the least recently used go first.

Owns the answers and what makes two requests ask the same. It decides nothing about requests; the core does. Pure; pump
thread only, but for the plain numbers that the control thread reads.

Two requests ask the same when they ask one signature of one version for the same inputs: equal shapes and equal bytes
(so 0.0 and -0.0 are different inputs). Whose requests they are makes no difference: an answer depends on nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import prod

from predictd_proto.tensors import DTYPE_BYTES, Buffer, Tensor
from predictd_server.serving.pending import Pending
from predictd_server.serving.served import ServedSignature

Key = tuple[object, ...]

#: Inputs up to this size are kept as they are; of larger ones a digest, which takes a millisecond for a megabyte.
WHOLE_BYTES = 256

#: What an entry takes beside its data: its place in the order, and for each input and output its part of the key or a
#: tensor. (Measured: 420 to 680 bytes for one of each, 6,500 for 16 inputs of 256 bytes, 17,000 for 32 of each.)
ENTRY_BYTES = 256
TENSOR_BYTES = 384


def key_of(request: Pending) -> Key:
    """Return what is equal for requests that ask the same."""
    tensors = request.tensors
    return (request.signature, *[tensor.shape for tensor in tensors], *[_content(tensor.data) for tensor in tensors])


def _content(data: Buffer) -> object:
    # The length makes a pair of it: no caller can send another's digest as the bytes of a small input.
    if len(data) <= WHOLE_BYTES:
        return bytes(data)
    return len(data), blake2b(data, digest_size=32).digest()


class ResponseCache:
    """One model's answers.

    Attributes:
        limit_bytes: How much they may take.
        bytes: How much they take.
        hits: Requests that were answered from here.
        misses: Requests that had to run.
        joined: Requests that got the answer of another one that was under way.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self.joined = 0
        self._answers: OrderedDict[Key, tuple[Tensor, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: Key) -> tuple[Tensor, ...] | None:
        """Return an answer's outputs, None where it isn't here."""
        found = self._answers.get(key)
        if found is not None:
            self._answers.move_to_end(key)
        return found

    def put(self, key: Key, outputs: Sequence[Tensor]) -> None:
        """Keep an answer, if it fits at all."""
        size = _size(key, outputs)
        if size > self.limit_bytes:
            return
        self._remove(key)
        # A copy: the outputs may be views into a whole run's, or the run's into TensorFlow's memory.
        kept = tuple(Tensor(tensor.name, tensor.dtype, tensor.shape, bytes(tensor.data)) for tensor in outputs)
        self._answers[key] = kept
        self.bytes += size
        while self.bytes > self.limit_bytes:
            self._remove(next(iter(self._answers)))

    def keep_only(self, is_served: Callable[[ServedSignature], bool]) -> None:
        """Drop the answers of versions that are no longer served."""
        gone = {signature for signature in {_signature(key) for key in self._answers} if not is_served(signature)}
        if gone:
            for key in [key for key in self._answers if _signature(key) in gone]:
                self._remove(key)

    def _remove(self, key: Key) -> None:
        outputs = self._answers.pop(key, None)
        if outputs is not None:
            self.bytes -= _size(key, outputs)


def _size(key: Key, outputs: Sequence[Tensor]) -> int:
    tensors = len(_signature(key).spec.inputs) + len(outputs)
    return ENTRY_BYTES + TENSOR_BYTES * tensors + sum([len(tensor.data) for tensor in outputs])


def least_bytes(signature: ServedSignature) -> int:
    """Return what the smallest answer of a signature takes: one row, with free axes and texts that are empty."""
    spec, rows = signature.spec, int(signature.is_mergeable)
    data = 0
    for tensor in spec.outputs:
        lengths = [rows if axis is None else axis for axis in tensor.shape[:1]]
        lengths += [axis or 0 for axis in tensor.shape[1:]]
        data += prod(lengths) * DTYPE_BYTES.get(tensor.dtype, 0)
    return ENTRY_BYTES + TENSOR_BYTES * (len(spec.inputs) + len(spec.outputs)) + data


def _signature(key: Key) -> ServedSignature:
    signature = key[0]
    assert isinstance(signature, ServedSignature)
    return signature
