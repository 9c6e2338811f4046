"""How a server is, as its control thread answers: alive, responsive and ready are three different things.

Owns `ServerStatus`. It measures nothing. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from predictd_proto.checks import (
    check_bool,
    check_int,
    check_ints,
    check_mapping,
    check_number,
    check_numbers,
    check_texts,
    check_tuple,
)
from predictd_proto.facts import check_facts
from predictd_proto.limits import MAX_LIST_ITEMS
from predictd_proto.metadata import ModelMetadata

STARTING, READY, DRAINING = "starting", "ready", "draining"

_MAX_TEXT = 4096
_MAX_INT = (1 << 63) - 1
_TEXTS = ("state", "server_id", "server", "endpoint")
_COUNTS = ("protocol", "pid", "queued_requests", "queued_rows", "queued_bytes")
_DURATIONS = ("uptime_s", "oldest_queued_ms", "running_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """A server's answer to "how are you"; that it answers at all is what "alive" means.

    Attributes:
        state: "starting", "ready" or "draining".
        responsive: The pump turns, and no batch has been running longer than it should.
        server_id: Random per start of the server.
        server: The server's package version.
        protocol: The protocol version it speaks.
        pid: Its process id.
        endpoint: Where it listens for requests.
        uptime_s: Seconds since it started.
        models: Every model version it knows, failed ones among them.
        queued_requests: Requests waiting for a batch.
        queued_rows: Their rows.
        queued_bytes: Their bytes.
        oldest_queued_ms: How long the oldest of them has waited; 0 when none waits.
        running_ms: How long the current batch has been running; 0 when none runs.
        last_run_age_ms: Time since the last batch finished; None before the first.
        rss_bytes: The process's resident memory; None when unknown.
        counters: Totals since the start, by name.
        loads: What each model makes of the server: name -> its queue, its time on the engine, its kept answers.
        tasks: How many requests came for which tasks: `names` and `queues`, of each by name its totals.
        settings: Effective settings: name -> [value, origin].
        runtime: The model runtime's effective settings (threads, devices, versions).
    """

    state: str
    responsive: bool
    server_id: str
    server: str
    protocol: int
    pid: int
    endpoint: str
    uptime_s: float
    models: tuple[ModelMetadata, ...] = ()
    queued_requests: int = 0
    queued_rows: int = 0
    queued_bytes: int = 0
    oldest_queued_ms: float = 0.0
    running_ms: float = 0.0
    last_run_age_ms: float | None = None
    rss_bytes: int | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    loads: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_texts(_TEXTS, (self.state, self.server_id, self.server, self.endpoint), _MAX_TEXT)
        check_bool("responsive", self.responsive)
        queued = (self.queued_requests, self.queued_rows, self.queued_bytes)
        check_ints(_COUNTS, (self.protocol, self.pid, *queued), 0, _MAX_INT)
        check_numbers(_DURATIONS, (self.uptime_s, self.oldest_queued_ms, self.running_ms))
        check_tuple("models", self.models, ModelMetadata, MAX_LIST_ITEMS)
        if self.last_run_age_ms is not None:
            check_number("last_run_age_ms", self.last_run_age_ms)
        if self.rss_bytes is not None:
            check_int("rss_bytes", self.rss_bytes, 0, _MAX_INT)
        check_mapping("counters", self.counters)
        for name, count in self.counters.items():
            check_int(f"counters, {name!r}", count, 0, _MAX_INT)
        check_facts("loads", self.loads)
        check_facts("tasks", self.tasks)
        check_facts("settings", self.settings)
        check_facts("runtime", self.runtime)

    @property
    def is_ready(self) -> bool:
        """Whether it takes predict requests now, for every model that could be loaded."""
        return self.state == READY
