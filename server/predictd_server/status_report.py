"""The status report: what the control thread says of the whole process.

Owns the gathering of numbers from the pump, the engine and the registry, and what "responsive" means. It changes
nothing. Control thread; the numbers it reads are single values that their owners replace.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

from predictd_proto.facts import safe_facts
from predictd_proto.limits import MAX_LIST_ITEMS
from predictd_proto.metadata import ModelMetadata
from predictd_proto.status import ServerStatus
from predictd_proto.version import PROTOCOL_VERSION
from predictd_server.engine import Engine
from predictd_server.resident import resident_bytes
from predictd_server.serving.class_queue import ClassQueue
from predictd_server.serving.core import Core
from predictd_server.serving.greeting import Greeting
from predictd_server.settings import Settings
from predictd_server.shown_versions import shown_versions
from predictd_server.sockets.frontend import Frontend

#: The pump turns several times a second while nothing runs on its thread.
SILENT_AFTER_S = 5.0


@dataclass(slots=True, eq=False)
class StatusReport:
    """Gathers a `ServerStatus`.

    Attributes:
        runtime: Returns the model runtime's effective settings; empty until it has started.
        is_draining: Set by the daemon as soon as it is told to stop.
    """

    settings: Settings
    endpoint: str
    greeting: Greeting
    core: Core
    engine: Engine
    frontend: Frontend
    runtime: Callable[[], Mapping[str, Any]]
    started_s: float
    is_draining: bool = False

    def status(self) -> ServerStatus:
        """Return how the server is now."""
        now = monotonic()
        admission = self.core.admission
        last_run_s, busy_since_s = self.engine.last_run_s, self.engine.busy_since_s
        oldest_s = self.core.oldest_arrival()
        return ServerStatus(
            state=self.greeting.state(is_draining=self.is_draining),
            responsive=self.is_responsive(now),
            server_id=self.greeting.server_id,
            server=self.greeting.server,
            protocol=PROTOCOL_VERSION,
            pid=os.getpid(),
            endpoint=self.endpoint,
            uptime_s=round(now - self.started_s, 3),
            models=self.versions(),
            queued_requests=self.core.waiting_requests,
            queued_rows=max(admission.rows, 0),
            queued_bytes=max(admission.bytes, 0),
            oldest_queued_ms=_age_ms(oldest_s, now) or 0.0,
            running_ms=_age_ms(busy_since_s, now) or 0.0,
            last_run_age_ms=_age_ms(last_run_s, now),
            rss_bytes=resident_bytes(),
            counters=self.core.counters.snapshot(),
            loads=self._loads(),
            tasks=self._tasks(),
            settings=safe_facts(self.settings.explained()),
            runtime=dict(self.runtime()),
        )

    def versions(self, model: str | None = None) -> tuple[ModelMetadata, ...]:
        """Return the versions of a model, or of all: as many as a message holds.

        Raises:
            ModelNotFoundError: There is no model of that name.
        """
        return shown_versions(self.greeting.registry.metadata(model))

    def _loads(self) -> dict[str, dict[str, Any]]:
        caches = self.core.shared.caches
        loads: dict[str, dict[str, Any]] = {}
        for model in list(self.core.admission.models.values())[:MAX_LIST_ITEMS]:
            loads[model.name] = {
                "queued_rows": model.rows,
                "max_queue_rows": model.max_rows,
                "weight": model.weight,
                "engine_s": round(model.ran_s, 6),
            }
            parts = list(model.parts.values())[:MAX_LIST_ITEMS]
            if parts:
                loads[model.name]["classes"] = {part.caller.name: _facts(part) for part in parts}
            cache = caches.get(model.name)
            if cache is not None:
                loads[model.name] |= {
                    "cache_bytes": cache.bytes,
                    "cache_answers": len(cache),
                    "cache_hits": cache.hits,
                    "cache_misses": cache.misses,
                    "cache_joined": cache.joined,
                }
        return loads

    def _tasks(self) -> dict[str, dict[str, Any]]:
        counts = self.core.shared.task_counts
        named = {"names": counts.names, "queues": counts.queues}
        return {kind: {name: asdict(count) for name, count in list(by_name.items())} for kind, by_name in named.items()}

    def is_responsive(self, now: float) -> bool:
        """Whether the pump turns and no run takes much longer than such runs take."""
        busy_since_s = self.engine.busy_since_s
        if busy_since_s is not None and now - busy_since_s > self.engine.patience_s:
            return False
        return self.frontend.is_alive and now - self.frontend.beat_s < max(SILENT_AFTER_S, self.engine.patience_s)


def _facts(part: ClassQueue) -> dict[str, Any]:
    return {
        "queued_rows": max(part.rows, 0),
        "requests": part.requests_total,
        "rows": part.rows_total,
        "refused": part.refused_total,
        "queue_s": round(part.queue_s, 6),
        "engine_s": round(part.ran_s, 6),
    }


def _age_ms(since_s: float | None, now: float) -> float | None:
    return None if since_s is None else round(max(now - since_s, 0.0) * 1000, 3)
