"""What a cache of answers takes: never more than its bound, and no more than it counts."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.tensors import Tensor
from predictd_server.serving.pending import Pending
from predictd_server.serving.response_cache import ENTRY_BYTES, TENSOR_BYTES, Key, ResponseCache, key_of
from predictd_server.serving.served import ServedSignature
from tests.server.fake_model import DoublingRunner, doubling_spec, served


def signature_of(inputs: int) -> ServedSignature:
    return served(doubling_spec(*[(None, 64)] * inputs), DoublingRunner()).signatures["serve"]


def key_of_values(signature: ServedSignature, number: int) -> Key:
    inputs = len(signature.spec.inputs)
    arrays = [np.full((1, 64), 100 * number + index, np.float32) for index in range(inputs)]
    tensors = tuple(Tensor.from_array("x", array) for array in arrays)
    return key_of(Pending(b"p", 1, signature, tensors, 1, 0, 0.0, 1.0))


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (16, 1), (1, 16), (16, 16)])
def test_what_is_counted_for_answers_is_what_they_take_of_many_tensors_too(inputs: int, outputs: int) -> None:
    cache, signature = ResponseCache(1 << 30), signature_of(inputs)
    made = [Tensor(f"y{index}", "uint8", (1, 4), b"1234") for index in range(outputs)]
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        for number in range(200):
            cache.put(key_of_values(signature, number), made)
        taken_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
    finally:
        tracemalloc.stop()
    assert taken_bytes <= cache.bytes <= 5 * taken_bytes


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2000), st.booleans()), max_size=60), st.integers(0, 6000))
def test_a_cache_holds_what_it_was_last_given_and_never_more_than_its_bound(
    steps: list[tuple[int, int, bool]], limit_bytes: int
) -> None:
    cache, signature = ResponseCache(limit_bytes), signature_of(1)
    last: dict[int, bytes] = {}
    for name, size, is_put in steps:
        if is_put:
            last[name] = bytes([size % 256]) * size
            cache.put((signature, name), [Tensor("y", "uint8", (size,), memoryview(last[name]))])
        else:
            found = cache.get((signature, name))
            if found is not None and ENTRY_BYTES + 2 * TENSOR_BYTES + len(last[name]) <= limit_bytes:
                assert found[0].data == last[name]
        assert 0 <= cache.bytes <= limit_bytes
    cache.keep_only(lambda _: False)
    assert (len(cache), cache.bytes) == (0, 0)
