"""Plans that are fetched once for all who wait for them, in order; no sockets, no threads, no clock."""

from __future__ import annotations

import predictd
from predictd.requests.catalogue import Plan
from tests.client.exchange_bench import Bench, value_of
from tests.client.fake_server import DOUBLE


def test_one_fetch_serves_all_who_wait_for_the_same_plan_and_order_is_kept() -> None:
    bench = Bench()
    for n in range(5):
        bench.ask(n)
    bench.run_jobs()
    assert bench.link.fetched == 1
    sent = [float(request.tensors[0].view()[0, 0]) for request in bench.connections[0].waiting]
    assert sent == [0, 1, 2, 3, 4]


def test_a_request_waits_behind_those_whose_plan_is_here_already_but_was_not_handed_to_them_yet() -> None:
    bench = Bench()
    bench.ask(0)
    bench.run_job()  # connects
    work, done = bench.jobs.popleft()
    plan = work(bench.clock)  # on another thread, which remembers it at once
    bench.ask(1)
    done(plan, None)
    bench.exchange.settle()
    sent = [float(request.tensors[0].view()[0, 0]) for request in bench.connections[0].waiting]
    assert sent == [0, 1]


def test_a_fetch_that_fails_fails_nobody_where_another_thread_has_got_the_plan() -> None:
    bench = Bench()
    pending = bench.ask(3)
    bench.run_job()  # connects
    bench.fetch_error = predictd.ServerUnavailableError("gone")
    bench.link.remember("first", ("double", None, None), Plan(DOUBLE, DOUBLE.signatures[0]))
    bench.run_jobs()
    bench.answer_all()
    assert value_of(pending) == 6
