"""The queue's books after every step of anything that may come: classes, priorities, cuts, cancels, runs beside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.messages import CancelRequest
from predictd_server.models.settings import ModelSettings
from predictd_server.serving.assembly import Workspace
from predictd_server.serving.batch import Batch
from predictd_server.serving.caller_class import CallerClass
from predictd_server.serving.execution import execute
from tests.server.fake_model import POISON, CoreBench, DoublingRunner, doubling_spec, served

PEERS = [b"p", b"q", b"r"]
STEPS = ["send"] * 5 + ["begin", "begin", "end", "beside", "beside", "cancel", "late", "forget", "replace", "sweep"]
WITHIN_S = 0.002


class Crowd:
    """A core with two models, and callers who do anything."""

    def __init__(self, draw: Random) -> None:
        self.draw = draw
        self.dtype = draw.choice(["float32", "float32", "string"])
        self.shape = draw.choice([(None, 3), (None, None)])
        self.cache_bytes = draw.choice([0, 0, 10_000])
        self.bench = CoreBench(
            self.shape,
            max_batch_size=draw.choice([1, 4, 8]),
            max_rows=draw.choice([40, 1000]),
            max_bytes=draw.choice([2000, 1 << 20]),
            classes=self.classes() if draw.random() < 0.8 else [],
            dtype=self.dtype,
            max_batch_bytes=draw.choice([60, 1 << 20]),
            window_s=draw.choice([0, 0.02]),
            fair_run_s=draw.choice([1e-9, 0.02, 1000]),
            priority_wait_s=draw.choice([0, 0.1, 10]),
        )
        self.long: Batch | None = None
        self.workspaces = Workspace(), Workspace()
        self.sent: list[tuple[bytes, int]] = []
        self.gone: set[tuple[bytes, int]] = set()
        for name in "mn":
            self.replace(name)

    def classes(self) -> list[CallerClass]:
        draw = self.draw
        first = CallerClass(
            name="a",
            priority=draw.choice([0, 1]),
            max_queue_rows=draw.choice([None, 20]),
            batch_timeout_ms=draw.choice([None, 50.0]),
        )
        return [first, CallerClass(name="b", weight=draw.choice([1.0, 5.0]))]

    def replace(self, name: str) -> None:
        model = served(doubling_spec(self.shape, dtype=self.dtype), DoublingRunner(), self.draw.choice([1, 4, 8]), name)
        set_for_model = ModelSettings(
            name=name, path=Path(), cache_bytes=self.cache_bytes, priority=self.draw.choice([0, 0, 2])
        )
        signature = replace(model.signatures["serve"], settings=set_for_model)
        for size in signature.sizes:
            signature.costs.set(size, ((3,),), self.draw.choice([1e-4, 1.0]))
        self.bench.registry.put(replace(model, signatures={"serve": signature}))

    def take(self, step: str) -> None:
        bench, draw = self.bench, self.draw
        if step == "send":
            self.send()
        elif step == "begin":
            self.long = self.long or bench.core.next_batch(bench.now)
        elif step == "end":
            self.end()
        elif step == "beside" and self.long is not None:
            batch = bench.core.next_batch(bench.now, WITHIN_S)
            if batch is not None:
                assert batch.signature.model != self.long.signature.model
                bench.core.finish(batch, execute(batch, self.workspaces[1], clock=lambda: bench.now))
        elif step == "cancel" and self.sent:
            peer, number = draw.choice(self.sent)
            bench.send_message(CancelRequest(id=number), peer)
            self.gone.add((peer, number))
        elif step == "late":
            bench.now += draw.choice([0.01, 0.01, 0.1, 1.0])
        elif step == "forget":
            peer = draw.choice(PEERS)
            bench.core.forget(peer, bench.now)
            self.gone |= {key for key in self.sent if key[0] == peer}
        elif step == "replace":
            self.replace(draw.choice("mn"))
        elif step == "sweep":
            bench.core.sweep(bench.now)
        bench.collect()

    def send(self) -> None:
        draw, number, peer = self.draw, len(self.sent), self.draw.choice(PEERS)
        size = draw.choice([0, 1, 1, 2, 3, 5, 9, 20, 50])
        width = 3 if self.shape[1] else draw.choice([1, 3, 3, 7])
        if self.dtype == "string":
            array = np.full((size, width), b"x" * draw.choice([0, 1, 30]), object)
        else:
            array = np.full((size, width), draw.choice([0, 1, 2, POISON]), np.float32)
        timeout = {"timeout_ms": draw.choice([1.0, 50.0, 500.0])} if draw.random() < 0.4 else {}
        caller = draw.choice(["a", "b", "", "unknown"])
        self.bench.send(number, array, peer=peer, model=draw.choice("mn"), caller_class=caller, **timeout)
        self.sent.append((peer, number))

    def end(self) -> None:
        batch, self.long = self.long, None
        if batch is not None:
            self.bench.core.finish(batch, execute(batch, self.workspaces[0], clock=lambda: self.bench.now))
        self.bench.collect()

    def finish(self) -> None:
        for _ in range(2000):
            self.end()
            self.bench.now += 0.5
            self.long = self.bench.core.next_batch(self.bench.now)
            self.bench.collect()
            self.check()
            if self.long is None and not self.bench.core.open_requests:
                return
        assert not self.bench.core.open_requests, "they are never answered"

    def check(self) -> None:
        admission, lanes = self.bench.core.admission, self.bench.core._lanes
        opened = list(self.bench.core._open)
        assert admission.requests == len(opened)
        assert admission.bytes == sum(request.byte_count for request in opened)
        assert admission.rows == sum(model.rows for model in admission.models.values())
        for model in admission.models.values():
            parts = model.parts.values()
            assert min([model.rows, model.counted_rows, *[part.rows for part in parts]]) >= 0
            assert not parts or sum(part.rows for part in parts) == model.counted_rows
        for lane in lanes._lanes.values():
            waiting = [request for line in lane.lines.values() for request in line.waiting()]
            assert lane.waiting_rows == sum(request.rows - request.next_row for request in waiting)
            assert lane.waiting_lines == sum(line in lanes._waiting for line in lane.lines.values())
            for line in lane.lines.values():
                assert line in lanes._waiting or not line
                for queue in (line.whole, line.large):
                    assert queue.waiting == sum(not request.is_over for request in queue.requests)
        for line in lanes._waiting:
            assert lanes._lanes[line.lane.key] is line.lane
        for level in lanes._levels._levels.values():
            of_level = [line for line in lanes._waiting if line.level is level]
            assert level.account.waiting_lines == len(of_level)
            for account in {line.account for line in of_level}:
                assert account.waiting_lines == sum(line.account is account for line in of_level)


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 1 << 32), count=st.integers(10, 120))
def test_the_books_agree_after_every_step_and_everybody_is_answered(seed: int, count: int) -> None:
    crowd = Crowd(Random(seed))
    for _ in range(count):
        crowd.take(crowd.draw.choice(STEPS))
        crowd.check()
    crowd.finish()
    assert {key for key in crowd.sent if key not in crowd.bench.answers} <= crowd.gone
    core = crowd.bench.core
    admission = core.admission
    assert (admission.requests, admission.rows, admission.bytes) == (0, 0, 0)
    assert core.is_idle
    assert core._lanes._running is None
    assert not core.shared.under_way
    assert not any(admission._class_bytes.values())
    assert all(level.account.waiting_lines == 0 for level in core._lanes._levels._levels.values())
