"""Golden frames: the bytes of protocol version 1, written by hand, stay what they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from predictd_proto.frames import MESSAGE_TYPES, encode, request_id_of
from predictd_proto.tensors import Buffer
from tests.proto.samples import GOLDEN, MESSAGES, READ_ONLY, decoded, golden_frames

WRITTEN = sorted(set(MESSAGES) - READ_ONLY)


def test_each_file_has_its_message() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(MESSAGES)


def test_each_message_type_has_a_file() -> None:
    assert {type(message) for message in MESSAGES.values()} == set(MESSAGE_TYPES.values())


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_golden_bytes_are_read(name: str) -> None:
    message = decoded(golden_frames(name))
    assert message == MESSAGES[name]
    assert type(message) is type(MESSAGES[name])


@pytest.mark.parametrize("name", WRITTEN)
def test_golden_bytes_are_written(name: str) -> None:
    frames = [bytes(frame) for frame in encode(MESSAGES[name])]
    assert frames == golden_frames(name)


@pytest.mark.parametrize("buffer", [bytearray, memoryview], ids=["bytearray", "memoryview"])
@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_golden_bytes_are_read_from_any_buffer(name: str, buffer: Callable[[bytes], Buffer]) -> None:
    assert decoded([buffer(frame) for frame in golden_frames(name)]) == MESSAGES[name]


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_the_id_is_found_without_decoding(name: str) -> None:
    assert request_id_of(golden_frames(name)) == getattr(MESSAGES[name], "id", None)
