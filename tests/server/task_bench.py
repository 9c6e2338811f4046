"""A core with one model whose requests are a task's, and what becomes of them when the task's process dies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from predictd_proto.messages import PredictResponse
from predictd_server.models.settings import ModelSettings
from predictd_server.serving.served import ServedSignature
from tests.server.fake_model import CoreBench, doubling_spec, served

TASK: dict[str, Any] = {"task_id": "t-1", "task_name": "shop.digit", "caller_class": "celery"}
KEEP_S = 10.0


def bench_of(*, is_repeatable: bool = True, cache_bytes: int = 0, max_batch_size: int = 8, **more: Any) -> CoreBench:
    bench = CoreBench(**more)
    put(bench, is_repeatable=is_repeatable, cache_bytes=cache_bytes, max_batch_size=max_batch_size)
    return bench


def put(
    bench: CoreBench,
    *,
    version: int = 1,
    is_repeatable: bool = True,
    cache_bytes: int = 0,
    max_batch_size: int = 8,
) -> ServedSignature:
    model = served(doubling_spec((None, 3)), bench.runner, max_batch_size)
    settings = ModelSettings(name="m", path=Path(), cache_bytes=cache_bytes)
    signature = replace(model.signatures["serve"], settings=settings, is_repeatable=is_repeatable, version=version)
    metadata = replace(model.metadata, version=version)
    bench.registry.put(replace(model, metadata=metadata, signatures={"serve": signature}))
    return signature


def vanish(bench: CoreBench, peer: bytes = b"gone") -> tuple[int, int]:
    """The client of a task dies; return how many requests were released, and kept."""
    released, kept = bench.core.forget(peer, bench.now)
    return len(released), len(kept)


def response(bench: CoreBench, request_id: int, peer: bytes = b"p") -> PredictResponse:
    message = bench.answers[peer, request_id]
    assert isinstance(message, PredictResponse), message
    return message


def counted(bench: CoreBench) -> tuple[int, int, int]:
    counters = bench.counters
    return counters.requests_kept_total, counters.requests_joined_total, counters.requests_released_total


def assert_books_balance(bench: CoreBench) -> None:
    held, tasks = bench.core.admission, bench.core.shared.tasks
    assert (held.requests, held.rows, held.bytes, bench.core.open_requests) == (0, 0, 0, 0)
    assert all((model.rows, model.counted_rows) == (0, 0) for model in held.models.values())
    assert not bench.core.shared.under_way
    assert not bench.core.shared.has_followers
    assert (tasks.open_requests, tasks.answers, tasks.bytes) == (0, 0, 0)
