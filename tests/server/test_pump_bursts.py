"""Messages that come one by one, in bursts, and while a run goes on: each is taken in and answered once."""

from __future__ import annotations

import pytest

from predictd_proto.messages import PredictResponse
from predictd_server.sockets.frontend import MOST_SPARSE
from tests.server.pump_bench import running_pump


@pytest.mark.parametrize("runs_inline", [True, False], ids=["on the pump", "on the engine"])
def test_every_message_of_every_burst_is_answered(*, runs_inline: bool) -> None:
    with running_pump(runs_inline=runs_inline) as pump:
        caller = pump.caller()
        first = 1
        for burst in (1, 1, MOST_SPARSE, MOST_SPARSE + 1, MOST_SPARSE + 2, 60, 1, 30, 1):
            ids = list(range(first, first + burst))
            for number in ids:
                caller.ask(number)
            answers = [caller.answer() for _ in ids]
            assert all(isinstance(answer, PredictResponse) for answer in answers), answers
            assert sorted(answer.id or 0 for answer in answers) == ids
            first += burst


def test_what_came_while_a_run_went_on_is_answered_after_it() -> None:
    with running_pump() as pump:
        holder = pump.hold()
        callers = [pump.caller() for _ in range(5)]
        for caller in callers:
            caller.ask(1)
        pump.wait_queued(len(callers))
        pump.open_gate()
        for caller in (holder, *callers):
            assert isinstance(caller.answer(), PredictResponse)
