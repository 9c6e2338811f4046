"""What `decode` refuses, with which class of error, and what that error says."""

from __future__ import annotations

import pytest

from predictd_proto.errors import (
    LocalProtocolError,
    ProtocolVersionError,
    RemoteProtocolError,
    RequestTooLargeError,
)
from predictd_proto.frames import check_size, decode, encode, request_id_of
from predictd_proto.limits import Limits
from predictd_proto.messages import CancelRequest, Hello, PredictRequest
from tests.proto.malformed import GOOD, MALFORMED, RECEIPT, frames_of, predict, response, signature, welcome
from tests.proto.samples import MESSAGES, golden_frames


@pytest.mark.parametrize(("frames", "text"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(frames: list[bytes], text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(frames)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 1000


LIMITS = Limits(max_tensors=2, max_header_bytes=400, max_request_bytes=500, max_rank=3, max_rows=4)

TOO_LARGE: dict[str, tuple[list[bytes], str]] = {
    "header": (predict(["x", "uint8", [400], bytes(400)]), "max_header_bytes = 400"),
    "sum of the frames": (predict(["x", "uint8", [480], 1], more=(bytes(480),)), "max_request_bytes = 500"),
    "frames": (predict(GOOD, more=(b"", b"", b"")), "max_tensors = 2 and a header"),
    "tensors": (predict(GOOD, GOOD, GOOD), "a message of 3 tensors; the limit is max_tensors = 2"),
    "rank": (predict(["x", "uint8", [1, 1, 1, 1], b"a"]), "4 axes; the limit is max_rank = 3"),
    "rows": (predict(["x", "uint8", [5], b"abcde"]), "5 rows; the limit is max_rows = 4"),
    "rows of nothing": (predict(["x", "uint8", [1 << 40, 0], b""]), "max_rows = 4"),
}


@pytest.mark.parametrize(("frames", "text"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_too_large(frames: list[bytes], text: str) -> None:
    with pytest.raises(RequestTooLargeError) as caught:
        decode(frames, LIMITS)
    assert text in str(caught.value)
    assert request_id_of(frames) == 5


def test_at_the_limits() -> None:
    entries = (["x", "uint8", [4, 1, 1], b"abcd"], ["y", "uint8", [1, 100], 1])
    frames = predict(*entries, more=(bytes(100),))
    exact = Limits(
        max_tensors=2,
        max_header_bytes=len(frames[0]),
        max_request_bytes=len(frames[0]) + 100,
        max_rank=3,
        max_rows=4,
    )
    assert isinstance(decode(frames, exact), PredictRequest)
    check_size(frames, exact)


def test_a_single_frame_is_bounded_by_the_whole_message_too() -> None:
    frames = predict(["x", "uint8", [90], bytes(90)])
    with pytest.raises(RequestTooLargeError, match="max_request_bytes = 100"):
        decode(frames, Limits(max_header_bytes=1000, max_request_bytes=100))


def test_rows_of_a_response_are_its_servers_business() -> None:
    frames = response(tensors=[["x", "uint8", [5], b"abcde"]])
    assert decode(frames, Limits(max_rows=4)) is not None


def test_zero_sized_tensors_of_many_columns_are_fine() -> None:
    message = decode(predict(["x", "float32", [0, 1 << 40], b""]))
    assert isinstance(message, PredictRequest)
    assert message.tensors[0].view().shape == (0, 1 << 40)


VERSIONED = [
    ("PredictRequest", 2, "a message of protocol 2 from the client; the server speaks 1 to 1: the server is older"),
    ("PredictRequest", 0, "a message of protocol 0 from the client; the server speaks 1 to 1: the client is older"),
    ("PredictResponse", 9, "a message of protocol 9 from the server; the client speaks 1 to 1: the client is older"),
    ("StatusResponse", 0, "a message of protocol 0 from the server; the client speaks 1 to 1: the server is older"),
]


@pytest.mark.parametrize(("name", "version", "text"), VERSIONED)
def test_other_versions(name: str, version: int, text: str) -> None:
    with pytest.raises(ProtocolVersionError) as caught:
        decode(frames_of(name, {"id": 1}, version=version))
    assert text in str(caught.value)
    assert caught.value.detail["theirs"] == [version, version]
    assert caught.value.detail["ours"] == [1, 1]
    assert caught.value.detail["older"] in str(caught.value)


def test_a_type_of_another_version_is_a_matter_of_versions() -> None:
    with pytest.raises(ProtocolVersionError, match="from the peer; the side that got it speaks"):
        decode([b"pd\x07\x63\x80"])


@pytest.mark.parametrize("version", [0, 2, 255])
@pytest.mark.parametrize("name", ["hello", "welcome", "error_response"])
def test_what_any_version_reads(name: str, version: int) -> None:
    (frame,) = golden_frames(name)
    assert decode([frame[:2] + bytes([version]) + frame[3:]]) == MESSAGES[name]


def test_unknown_keys_are_ignored_everywhere() -> None:
    later = {"later": {"a": [1]}, b"bytes": 1}
    message = decode(predict(GOOD, later=1))
    assert isinstance(message, PredictRequest)
    assert decode(frames_of("CancelRequest", {"id": 1, **later})) == CancelRequest(id=1)
    assert decode(response(receipt={**RECEIPT, **later})) == decode(response())
    assert decode(signature(later=1)) == decode(signature())
    assert decode(welcome(limits={"max_rows": 5, "max_later": 0})) == decode(welcome(limits={"max_rows": 5}))


def test_the_last_of_two_equal_keys_is_taken() -> None:
    assert decode([b"pd\x01\x06\x82\xa2id\x01\xa2id\x02"]) == CancelRequest(id=2)


def test_frames_that_are_no_bytes_are_the_callers_fault() -> None:
    for frame in ("text", None, 5, memoryview(b"abcd")[::2]):
        with pytest.raises(LocalProtocolError, match="a frame: expected contiguous bytes"):
            decode([frame])  # type: ignore[list-item]


def test_views_of_other_formats_are_read_as_bytes() -> None:
    frame = encode(Hello(oldest=1, newest=1))[0]
    padded = bytes(frame) + b"\xc0" * (-len(frame) % 4)
    with pytest.raises(RemoteProtocolError):
        decode([memoryview(padded).cast("I")])
    request = predict(["x", "uint8", [8], 1])
    message = decode([*request, memoryview(b"abcdefgh").cast("I")])
    assert isinstance(message, PredictRequest)
    assert bytes(message.tensors[0].data) == b"abcdefgh"


class TestRequestId:
    def test_none_without_frames(self) -> None:
        assert request_id_of([]) is None

    def test_none_for_what_is_no_message(self) -> None:
        assert request_id_of([b"GET / HTTP"]) is None
        assert request_id_of([b"pd"]) is None
        assert request_id_of([b"xx\x01\x06\x81\xa2id\x05"]) is None

    @pytest.mark.parametrize("found", [None, "5", -1, 1 << 63, 1.0, True])
    def test_none_for_what_is_no_id(self, found: object) -> None:
        assert request_id_of(frames_of("CancelRequest", {"id": found})) is None

    def test_found_in_a_message_that_is_cut_off(self) -> None:
        assert request_id_of([predict(GOOD)[0][:-1]]) == 5

    def test_found_in_a_header_far_over_the_limit(self) -> None:
        assert request_id_of(predict(["x", "uint8", [1 << 20], bytes(1 << 20)])) == 5

    def test_found_after_other_keys(self) -> None:
        assert request_id_of(frames_of("CancelRequest", {"a": "b", "c": {}, "id": 5})) == 5

    def test_not_looked_for_beyond_the_beginning(self) -> None:
        assert request_id_of(frames_of("CancelRequest", {"a": "x" * 5000, "id": 5})) is None

    def test_none_when_there_is_none(self) -> None:
        assert request_id_of(frames_of("CancelRequest", {"a": 1})) is None


def test_what_is_no_message_is_not_encoded() -> None:
    with pytest.raises(LocalProtocolError, match="expected one of the messages, got a dict"):
        encode({})  # type: ignore[arg-type]
