"""One message per golden file: what the bytes in `golden/` were written to say."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from predictd_proto.frames import decode
from predictd_proto.limits import DEFAULT_LIMITS, Limits
from predictd_proto.messages import (
    CancelRequest,
    ErrorResponse,
    Hello,
    LabelRequest,
    LoadRequest,
    Message,
    MetadataRequest,
    MetadataResponse,
    OrderResponse,
    PredictRequest,
    PredictResponse,
    Receipt,
    ReloadRequest,
    StatusRequest,
    StatusResponse,
    UnloadRequest,
    Welcome,
)
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.segments import PlacedTensor, Segment, SegmentLimits
from predictd_proto.status import ServerStatus
from predictd_proto.tensors import Buffer, Tensor, TensorSpec

GOLDEN = Path(__file__).parent / "golden"

#: Files that a reader must accept and a writer would write otherwise.
READ_ONLY = frozenset({"predict_request_small_frame"})

SIGNATURE = SignatureSpec(
    name="serving_default",
    inputs=(TensorSpec("x", "float32", (None, 64)),),
    outputs=(TensorSpec("probabilities", "float32", (None, 10)),),
    input_structure="x",
    output_structure={"scores": ["probabilities"]},
)

MODEL = ModelMetadata(
    name="digits",
    version=3,
    state="ready",
    labels=("stable",),
    is_default=True,
    signatures=(SIGNATURE,),
    default_signature="serving_default",
    batch_sizes=(1, 8, 64),
    ladders=((1, 8, 64),),
    digest="sha256:9f86d081",
    source="digits.keras",
    format="keras",
    runner="session",
    runners=("session",),
    load_ms=812.5,
    warmup_ms=40.25,
    traces=1,
    parameters=9610,
    memory_bytes=1048576,
    weight_bytes=38440,
    gate="passed",
    notes=("slow",),
    model_notes=("v1",),
)

RECEIPT = Receipt(
    model="digits",
    version=3,
    queue_ms=0.5,
    execute_ms=0.25,
    batch_rows=5,
    padding_rows=3,
    closed_by="gathered",
    queued_rows=2,
)

STATUS = ServerStatus(
    state="starting",
    responsive=True,
    server_id="5f3a9c",
    server="0.1.0",
    protocol=1,
    pid=4242,
    endpoint="ipc:///run/predictd/predictd.sock",
    uptime_s=1.5,
    counters={"requests_total": 0},
    settings={"max_batch_size": [64, "default"]},
    runtime={"threads": 2},
)


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


MESSAGES: dict[str, Message] = {
    "hello": Hello(oldest=1, newest=1, client="predictd 0.1.0"),
    "welcome": Welcome(
        version=1,
        server_id="5f3a9c",
        server="0.1.0",
        state="ready",
        limits=Limits(
            max_tensors=64,
            max_header_bytes=2097152,
            max_request_bytes=1073741824,
            max_rank=16,
            max_rows=16777216,
        ),
        models=("digits",),
        segments=SegmentLimits(max_segments=16, max_bytes=268435456),
    ),
    "predict_request": PredictRequest(
        id=7,
        model="digits",
        timeout_ms=1500.0,
        tensors=(Tensor("x", "float32", (1, 2), floats(1.0, -0.5)),),
    ),
    "predict_request_all_keys": PredictRequest(
        id=8,
        model="digits",
        version=3,
        signature="serving_default",
        timeout_ms=250.5,
        caller_class="interactive",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        task_id="6f9c1d52",
        task_name="shop.digit",
        tensors=(
            Tensor("mask", "bool", (1, 3), b"\x01\x00\x01"),
            Tensor("text", "string", (1, 2), b"\x02\x00\x00\x00hi\x00\x00\x00\x00"),
        ),
    ),
    "predict_request_label": PredictRequest(
        id=9, model="digits", version="stable", tensors=(Tensor("x", "bfloat16", (1,), b"\x80\x3f"),)
    ),
    "predict_request_no_rows": PredictRequest(id=11, model="digits", tensors=(Tensor("x", "float32", (0, 2), b""),)),
    "predict_request_frames": PredictRequest(
        id=10,
        model="digits",
        tensors=(
            Tensor("image", "uint8", (1, 16385), b"\xff" * 16385),
            Tensor("scale", "float32", (1,), floats(2.0)),
            Tensor("mask", "uint8", (1, 20000), bytes(20000)),
        ),
    ),
    "predict_request_small_frame": PredictRequest(
        id=12, model="digits", tensors=(Tensor("x", "int16", (2,), struct.pack("<2h", 1, -2)),)
    ),
    "predict_request_segments": PredictRequest(
        id=13,
        model="digits",
        timeout_ms=1500.0,
        segments=(Segment(17, 1, 4660, 4096), Segment(18, 1, 4661, 4096)),
        reply_segment=1,
        tensors=(PlacedTensor("x", "float32", (1, 2), floats(1.0, -0.5), 0, 64),),
    ),
    "predict_response_segment": PredictResponse(
        id=13, receipt=RECEIPT, tensors=(PlacedTensor("probabilities", "float32", (1, 2), floats(0.75, 0.25), 1, 0),)
    ),
    "predict_response": PredictResponse(
        id=7, receipt=RECEIPT, tensors=(Tensor("probabilities", "float32", (1, 2), floats(0.75, 0.25)),)
    ),
    "error_response": ErrorResponse(
        id=7, code="overloaded", message="the queue is full", detail={"retry_after_ms": 120}
    ),
    "error_response_no_id": ErrorResponse(id=None, code="malformed", message="not a predictd message"),
    "cancel_request": CancelRequest(id=7),
    "metadata_request": MetadataRequest(id=1, model="digits"),
    "metadata_request_all": MetadataRequest(id=2),
    "metadata_response": MetadataResponse(id=1, models=(MODEL,)),
    "status_request": StatusRequest(id=3),
    "status_response": StatusResponse(id=3, status=STATUS),
    "load_request": LoadRequest(id=4, model="digits", version=3, timeout_ms=600000.0),
    "load_request_newest": LoadRequest(id=5, model="digits"),
    "unload_request": UnloadRequest(id=6, model="digits", version=2),
    "label_request": LabelRequest(id=7, model="digits", label="canary", version=3),
    "label_request_away": LabelRequest(id=8, model="digits", label="canary"),
    "reload_request": ReloadRequest(id=9, model="digits"),
    "order_response": OrderResponse(id=4, done=("model digits version 3: ready",)),
}


#: What lies in every segment that a golden message refers to.
SHARED = floats(0.75, 0.25) + bytes(56) + floats(1.0, -0.5) + bytes(4024)


def decoded(frames: Sequence[Buffer], limits: Limits = DEFAULT_LIMITS) -> Message:
    """Return the message that frames hold, where memory is shared."""
    return decode(frames, limits, request_memory=lambda _: SHARED, reply_memory=lambda _, __: SHARED)


def read_hex(text: str) -> list[bytes]:
    """Return the frames of a golden text: hex and `ff * 3`, remarks after `#`, `# frame N` before each frame."""
    frames: list[bytes] = []
    for line in text.splitlines():
        content, _, remark = line.partition("#")
        if not content.strip():
            if remark.strip().startswith("frame "):
                assert remark.split() == ["frame", str(len(frames))], line
                frames.append(b"")
            continue
        byte, _, times = content.partition("*")
        frames[-1] += bytes.fromhex(byte) * int(times or "1")
    return frames


def golden_frames(name: str) -> list[bytes]:
    return read_hex((GOLDEN / f"{name}.hex").read_text(encoding="utf-8"))
