"""Hypothesis strategies: any array that travels, any message, and ways to damage what was encoded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from predictd_proto.dtypes import DTYPE_BYTES, STRING
from predictd_proto.errors import ERROR_CLASSES
from predictd_proto.limits import Limits
from predictd_proto.messages import (
    CancelRequest,
    ErrorResponse,
    Hello,
    LabelRequest,
    LoadRequest,
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
from predictd_proto.segments import Segment, SegmentLimits
from predictd_proto.status import ServerStatus
from predictd_proto.tensors import Tensor, TensorSpec

IDS = st.integers(0, (1 << 63) - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
DURATIONS = st.floats(0, 1e12, allow_nan=False) | st.integers(0, 1 << 40)
NUMBERS = sorted(set(DTYPE_BYTES) - {"bfloat16"})
SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3)


@st.composite
def numeric_arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Any bits, in any layout: strided, transposed, big-endian, read-only; rank 0 to 5; axes of 0."""
    dtype = np.dtype(draw(st.sampled_from(NUMBERS)))
    shape = draw(SHAPES)
    count = int(np.prod(shape, dtype=np.int64))
    if dtype.kind == "b":
        raw = bytes(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    else:
        raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    array = np.frombuffer(raw, dtype).reshape(shape)
    return draw(laid_out(array))


@st.composite
def laid_out(draw: st.DrawFn, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same elements in another memory layout."""
    layout = draw(st.sampled_from(["as it is", "own", "fortran", "strided", "reversed", "big-endian"]))
    if layout == "own":
        return array.copy()
    if layout == "fortran":
        return np.asfortranarray(array).reshape(array.shape)
    if layout == "strided" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "reversed" and array.ndim:
        return array[::-1].copy()[::-1]
    if layout == "big-endian":
        return array.astype(array.dtype.newbyteorder(">"))
    return array


@st.composite
def string_arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    shape = draw(SHAPES)
    count = int(np.prod(shape, dtype=np.int64))
    element = st.binary(max_size=5) | TEXTS
    array = np.empty(shape, dtype=object)
    array.reshape(-1)[:] = draw(st.lists(element, min_size=count, max_size=count))
    return array


@st.composite
def tensors(draw: st.DrawFn, name: str | None = None) -> Tensor:
    label = draw(TEXTS) if name is None else name
    kind = draw(st.sampled_from(["number", STRING, "bfloat16"]))
    if kind == STRING:
        return Tensor.from_array(label, draw(string_arrays()))
    if kind == "bfloat16":
        shape = draw(SHAPES)
        size = 2 * int(np.prod(shape, dtype=np.int64))
        return Tensor(label, kind, shape, draw(st.binary(min_size=size, max_size=size)))
    return Tensor.from_array(label, draw(numeric_arrays()))


@st.composite
def large_tensors(draw: st.DrawFn) -> Tensor:
    """One that gets a frame of its own."""
    rows = draw(st.integers(16385, 20000))
    return Tensor(draw(TEXTS), "uint8", (rows, 1), bytes([draw(st.integers(0, 255))]) * rows)


TENSORS = st.lists(tensors() | large_tensors(), max_size=4, unique_by=lambda tensor: tensor.name).map(tuple)

LEAVES = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False) | TEXTS
FACTS = st.dictionaries(
    TEXTS,
    st.recursive(LEAVES, lambda c: st.lists(c, max_size=3) | st.dictionaries(TEXTS, c, max_size=3), max_leaves=6),
    max_size=3,
)

COUNTED = st.integers(1, (1 << 63) - 1)
SEGMENTS = st.lists(
    st.builds(Segment, st.integers(0, 1 << 31), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), COUNTED),
    max_size=3,
).map(tuple)
LIMITS = st.builds(
    Limits,
    max_tensors=st.integers(1, 1 << 62),
    max_header_bytes=st.integers(1, 1 << 62),
    max_request_bytes=st.integers(1, 1 << 62),
    max_rank=st.integers(1, 32),
    max_rows=st.integers(1, 1 << 62),
)


@st.composite
def structures(draw: st.DrawFn, names: list[str]) -> Any:
    if len(names) == 1 and draw(st.booleans()):
        return names[0]
    parts: list[Any] = []
    rest = list(names)
    while rest:
        taken = draw(st.integers(1, len(rest)))
        parts.append(rest[0] if taken == 1 else draw(structures(rest[:taken])) if taken < len(names) else rest[:taken])
        del rest[:taken]
    if draw(st.booleans()):
        return {f"k{index}": part for index, part in enumerate(parts)}
    return parts


AXES = st.none() | st.integers(0, (1 << 48) - 1)
SPECS = st.lists(
    st.builds(
        TensorSpec,
        TEXTS,
        st.sampled_from([*DTYPE_BYTES, STRING]),
        st.lists(AXES, max_size=5).map(tuple),
    ),
    max_size=4,
    unique_by=lambda spec: spec.name,
).map(tuple)


@st.composite
def signatures(draw: st.DrawFn) -> SignatureSpec:
    inputs, outputs = draw(SPECS), draw(SPECS)
    return SignatureSpec(
        name=draw(TEXTS),
        inputs=inputs,
        outputs=outputs,
        input_structure=draw(structures([spec.name for spec in inputs])),
        output_structure=draw(structures([spec.name for spec in outputs])),
    )


SIZES = st.lists(st.integers(1, 4096), max_size=3).map(tuple)


@st.composite
def models(draw: st.DrawFn) -> ModelMetadata:
    """Any model, with the batch sizes of each signature or without them."""
    model: ModelMetadata = draw(_WITHOUT_LADDERS)
    count = len(model.signatures)
    ladders = st.lists(SIZES, min_size=count, max_size=count).map(tuple)
    return replace(model, ladders=draw(st.just(()) | ladders))


_WITHOUT_LADDERS = st.builds(
    ModelMetadata,
    name=TEXTS,
    version=IDS,
    state=TEXTS,
    labels=st.lists(TEXTS, max_size=2).map(tuple),
    is_default=st.booleans(),
    signatures=st.lists(signatures(), max_size=2).map(tuple),
    default_signature=TEXTS,
    batch_sizes=SIZES,
    digest=TEXTS,
    source=TEXTS,
    format=TEXTS,
    runner=TEXTS,
    load_ms=DURATIONS,
    warmup_ms=DURATIONS,
    traces=IDS,
    parameters=st.none() | IDS,
    memory_bytes=st.none() | st.integers(-(1 << 62), 1 << 62),
    weight_bytes=st.none() | IDS,
    gate=TEXTS,
    notes=st.lists(TEXTS, max_size=2).map(tuple),
    model_notes=st.lists(TEXTS, max_size=2).map(tuple),
    error=TEXTS,
)
MODELS = models()

STATUSES = st.builds(
    ServerStatus,
    state=TEXTS,
    responsive=st.booleans(),
    server_id=TEXTS,
    server=TEXTS,
    protocol=IDS,
    pid=IDS,
    endpoint=TEXTS,
    uptime_s=DURATIONS,
    models=st.lists(MODELS, max_size=2).map(tuple),
    queued_requests=IDS,
    queued_rows=IDS,
    queued_bytes=IDS,
    oldest_queued_ms=DURATIONS,
    running_ms=DURATIONS,
    last_run_age_ms=st.none() | DURATIONS,
    rss_bytes=st.none() | IDS,
    counters=st.dictionaries(TEXTS, IDS, max_size=3),
    loads=FACTS,
    tasks=FACTS,
    settings=FACTS,
    runtime=FACTS,
)

RECEIPTS = st.builds(
    Receipt,
    model=TEXTS,
    version=IDS,
    queue_ms=DURATIONS,
    assemble_ms=DURATIONS,
    execute_ms=DURATIONS,
    split_ms=DURATIONS,
    batch_rows=IDS,
    padding_rows=IDS,
    batches=IDS,
    closed_by=TEXTS,
    queued_rows=IDS,
)

#: Per message type, any message of it.
BY_TYPE: dict[type, st.SearchStrategy[Any]] = {
    Hello: st.tuples(st.integers(0, 255), st.integers(0, 255), TEXTS).map(
        lambda drawn: Hello(oldest=min(drawn[:2]), newest=max(drawn[:2]), client=drawn[2])
    ),
    Welcome: st.builds(
        Welcome,
        version=st.integers(0, 255),
        server_id=TEXTS,
        server=TEXTS,
        state=TEXTS,
        limits=LIMITS,
        models=st.lists(TEXTS, max_size=3).map(tuple),
        segments=st.none() | st.builds(SegmentLimits, max_segments=COUNTED, max_bytes=COUNTED),
    ),
    PredictRequest: st.builds(
        PredictRequest,
        id=IDS,
        model=TEXTS,
        tensors=TENSORS,
        version=st.none() | IDS | TEXTS,
        signature=st.none() | TEXTS,
        timeout_ms=st.none() | DURATIONS,
        caller_class=TEXTS,
        traceparent=TEXTS,
        task_id=TEXTS,
        task_name=TEXTS,
        segments=SEGMENTS,
    ),
    PredictResponse: st.builds(PredictResponse, id=IDS, tensors=TENSORS, receipt=RECEIPTS),
    ErrorResponse: st.builds(
        ErrorResponse,
        id=st.none() | IDS,
        code=st.sampled_from(sorted(ERROR_CLASSES)) | TEXTS,
        message=TEXTS,
        detail=FACTS,
    ),
    CancelRequest: st.builds(CancelRequest, id=IDS),
    MetadataRequest: st.builds(MetadataRequest, id=IDS, model=st.none() | TEXTS),
    MetadataResponse: st.builds(MetadataResponse, id=IDS, models=st.lists(MODELS, max_size=2).map(tuple)),
    StatusRequest: st.builds(StatusRequest, id=IDS),
    StatusResponse: st.builds(StatusResponse, id=IDS, status=STATUSES),
    LoadRequest: st.builds(LoadRequest, id=IDS, model=TEXTS, version=st.none() | IDS, timeout_ms=st.none() | DURATIONS),
    UnloadRequest: st.builds(
        UnloadRequest, id=IDS, model=TEXTS, version=st.none() | IDS, timeout_ms=st.none() | DURATIONS
    ),
    LabelRequest: st.builds(
        LabelRequest, id=IDS, model=TEXTS, label=TEXTS, version=st.none() | IDS, timeout_ms=st.none() | DURATIONS
    ),
    ReloadRequest: st.builds(ReloadRequest, id=IDS, model=st.none() | TEXTS, timeout_ms=st.none() | DURATIONS),
    OrderResponse: st.builds(
        OrderResponse,
        id=IDS,
        done=st.lists(TEXTS, max_size=3).map(tuple),
        models=st.lists(MODELS, max_size=2).map(tuple),
    ),
}
