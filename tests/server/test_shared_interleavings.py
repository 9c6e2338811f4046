"""Kept and shared answers while versions come and go, batches fail, clients and workers leave and the server stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.errors import ServerDrainingError
from predictd_proto.messages import CancelRequest
from predictd_server.models.settings import PAD, SERVE, ModelSettings
from predictd_server.serving.batch import Batch
from predictd_server.serving.execution import execute
from predictd_server.serving.lengths import Axis, FreeAxes
from tests.server.fake_model import POISON, CoreBench, DoublingRunner, doubling_spec, rows, served

NAMES = ("m", "n")

OTHER_STEPS = ("fault", "later", "replace", "remove")

#: Of each three requests one is of no task; those of a task ask the same again and again.
TASKS = ("", "t", "u")
OUTCOMES = {"expired_in_queue", "prediction_failed", "model_not_found", "draining", "overloaded", "internal"}

Asked = tuple[bytes, int]


class Times(DoublingRunner):
    """Answers `factor * x`: each generation of a model has a factor of its own."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = np.float32(factor)

    def run(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        super().run(inputs)
        return [array * self.factor for array in inputs]


class Story:
    """What happens to a core with two models, step by step, and what each caller may then expect."""

    def __init__(
        self, cache_bytes: int, *, is_padded: bool, is_repeatable: bool, window_s: float, max_bytes: int, keep_s: float
    ) -> None:
        self.bench = CoreBench((None, None), max_batch_size=4, window_s=window_s, max_bytes=max_bytes, keep_s=keep_s)
        self.lives: Counter[bytes] = Counter()
        self.cache_bytes = cache_bytes
        self.is_repeatable = is_repeatable
        self.is_padded = is_padded
        self.generations = dict.fromkeys(NAMES, 1)
        self.asked: dict[Asked, tuple[str, np.ndarray[Any, Any], int]] = {}
        self.tasks: dict[Asked, str] = {}
        self.gone: set[Asked] = set()
        self.lost: list[tuple[str, np.ndarray[Any, Any], str]] = []
        self.running: Batch | None = None
        for name in NAMES:
            self.replace(name, 1.0)

    def replace(self, name: str, weight: float) -> None:
        self.generations[name] += 1
        model = served(doubling_spec((None, None)), Times(self.generations[name]), 4, model=name)
        set_for_model = ModelSettings(
            name=name,
            path=Path(),
            cache_bytes=self.cache_bytes,
            weight=weight,
            lengths=(4, 8) if self.is_padded else (),
            unseen_lengths=PAD if self.is_padded else SERVE,
        )
        axes = FreeAxes(followed=((Axis(0, 1), Axis(0, 1)),))
        signature = replace(
            model.signatures["serve"], settings=set_for_model, axes=axes, is_repeatable=self.is_repeatable
        )
        self.bench.registry.put(replace(model, signatures={"serve": signature}))

    def take(self, step: int, what: str, number: int, peer: bytes, name: str) -> None:
        bench = self.bench
        # No routing id comes back.
        place, peer = peer, b"%s.%d" % (peer, self.lives[peer])
        if what == "ask":
            array = rows(1 + number, POISON if number == 3 else 1000.0 * number + 1, 1 + 2 * (number % 3))
            self.ask(step, peer, name, array, TASKS[step % 3])
        elif what == "again" and self.lost:
            self.ask(step, peer, *self.lost.pop())
        elif what == "lose":
            # In mid-run, which may be over before the next one comes.
            self.running = self.running or bench.core.next_batch(bench.now)
            self.vanish(place, peer)
            self.end(is_fault=False, is_due=number % 2 == 1)
        elif what == "cancel":
            self.cancel(number)
        elif what == "vanish":
            self.vanish(place, peer)
        elif what == "later":
            bench.now += 0.015
            bench.core.sweep(bench.now)
        elif what == "replace":
            self.replace(name, 1.0 + number)
        elif what == "begin":
            self.running = self.running or bench.core.next_batch(bench.now)
        elif what in ("end", "fault"):
            self.end(is_fault=what == "fault")
        elif what == "remove":
            bench.registry.remove(name, 1)
        bench.collect()
        tasks = bench.core.shared.tasks
        assert tasks.bytes == sum(answer.byte_count for answer in tasks._answers.values())
        flights = bench.core.shared._flights
        assert flights.followers == sum(len(flight.followers) for flight in flights.by_key.values())

    def ask(self, step: int, peer: bytes, name: str, array: np.ndarray[Any, Any], task_id: str) -> None:
        timeout_ms = (20.0, 1000.0)[step % 2]
        self.asked[peer, step] = name, array, self.generations[name]
        self.tasks[peer, step] = task_id
        self.bench.send(step, array, peer=peer, model=name, timeout_ms=timeout_ms, task_id=task_id)

    def vanish(self, place: bytes, peer: bytes) -> None:
        self.bench.core.forget(peer, self.bench.now)
        gone = {key for key in self.asked if key[0] == peer}
        self.lost += [(*self.asked[key][:2], self.tasks[key]) for key in gone if key not in self.bench.answers]
        self.gone |= gone
        self.lives[place] += 1

    def cancel(self, number: int) -> None:
        waiting = [key for key in self.asked if key not in self.bench.answers and key not in self.gone]
        for caller, request_id in waiting[number : number + 1]:
            self.bench.send_message(CancelRequest(id=request_id), peer=caller)
            self.gone.add((caller, request_id))

    def end(self, *, is_fault: bool, is_due: bool = True) -> None:
        batch = self.running
        if batch is None or not is_due:
            return
        self.running = None
        if is_fault:
            self.bench.core.finish(batch, [])
            self.bench.core.fail_batch(batch)
        else:
            self.bench.core.finish(batch, execute(batch, self.bench.workspace))

    def finish(self, *, is_abandoned: bool) -> None:
        bench = self.bench
        if is_abandoned:
            bench.core.drain()
            bench.core.abandon(ServerDrainingError("bye"))
        self.end(is_fault=False)
        for _ in range(40):
            bench.run_all()
            bench.now += 0.03
        bench.core.sweep(bench.now)

    def check_answers(self) -> None:
        for key, (name, array, generation) in self.asked.items():
            message: Any = self.bench.answers.get(key)
            if message is None:
                assert key in self.gone
            elif hasattr(message, "tensors"):
                np.testing.assert_array_equal(message.tensors[0].array(), array * np.float32(generation), str(name))
            else:
                assert message.code in OUTCOMES

    def check_books(self) -> None:
        core = self.bench.core
        held = core.admission
        assert (held.requests, held.rows, held.bytes) == (0, 0, 0)
        assert (core.open_requests, core.waiting_requests, len(core.shared.under_way)) == (0, 0, 0)
        assert not core.shared.has_followers
        assert (core.shared.tasks.open_requests, core.shared.tasks.answers, core.shared.tasks.bytes) == (0, 0, 0)
        for model in held.models.values():
            assert (model.rows, model.counted_rows) == (0, 0)
        versions = [version for name in NAMES for version in core._registry.versions(name)]
        signatures = [signature for version in versions for signature in version.signatures.values()]
        assert not any(signature.is_needed for signature in signatures)
        kept = [lane.signature for lane in core._lanes._lanes.values()]
        for cache in core.shared.caches.values():
            assert 0 <= cache.bytes <= cache.limit_bytes
            kept += [key[0] for key in cache._answers]  # type: ignore[misc]
        assert {id(signature) for signature in kept} <= set(map(id, signatures)), "kept a version that is gone"


@settings(deadline=None, max_examples=250)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(
                [*["ask"] * 6, *["lose", "again"] * 3, *["vanish", "begin", "end"] * 2, *["cancel"] * 2, *OTHER_STEPS]
            ),
            st.integers(0, 4),
            st.sampled_from([b"p0", b"p1", b"p2"]),
            st.sampled_from(NAMES),
        ),
        min_size=20,
        max_size=80,
    ),
    cache_bytes=st.sampled_from([0, 1, 4000, 1 << 20]),
    is_padded=st.booleans(),
    is_repeatable=st.booleans(),
    keep_s=st.sampled_from([0.0, 0.02, 0.2]),
    window_s=st.sampled_from([0.0, 0.03]),
    max_bytes=st.sampled_from([3000, 1 << 20]),
    is_abandoned=st.booleans(),
)
def test_each_caller_is_answered_once_by_the_version_that_was_served_when_it_asked(
    steps: list[tuple[str, int, bytes, str]],
    cache_bytes: int,
    *,
    is_padded: bool,
    is_repeatable: bool,
    keep_s: float,
    window_s: float,
    max_bytes: int,
    is_abandoned: bool,
) -> None:
    story = Story(
        cache_bytes,
        is_padded=is_padded,
        is_repeatable=is_repeatable,
        window_s=window_s,
        max_bytes=max_bytes,
        keep_s=keep_s,
    )
    for step, (what, number, peer, name) in enumerate(steps):
        story.take(step, what, number, peer, name)
    story.finish(is_abandoned=is_abandoned)
    story.check_answers()
    story.check_books()
