"""The exchange and versions that take other inputs than the one that is remembered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import predictd
from predictd.requests.stale_plans import MOST_REMAKES
from tests.client.exchange_bench import Bench
from tests.client.fake_server import PAIR, answer, other_version


@pytest.mark.parametrize("how", ["refused", "late"])
def test_without_that_plan_an_answer_to_several_inputs_is_not_trusted(how: str) -> None:
    bench = Bench()
    bench.model = PAIR
    pending = bench.asked(timeout_ms=1000, inputs=[np.ones((1, 4), np.float32), np.ones((1, 2), np.int32)])
    (request,) = bench.connections[0].waiting
    bench.fetch_error = predictd.ServerUnavailableError("nobody")
    bench.connections[0].reply(answer(replace(request, model="pair"), version=2))
    bench.read()
    assert bench.done == []
    if how == "late":
        bench.advance(2)
        assert isinstance(pending.error, predictd.DeadlineExceededError)
    bench.run_jobs()
    assert bench.done == [pending]
    assert pending.answer is None


def test_a_request_is_made_anew_a_few_times_only() -> None:
    bench = Bench()
    bench.model = PAIR
    pending = bench.asked(inputs=[np.ones((1, 4), np.float32), np.ones((1, 2), np.int32)])
    for version in range(2, 99):
        (request,) = bench.connections[0].waiting
        (spec,) = PAIR.signatures
        spec = replace(spec, inputs=spec.inputs[:: (-1) ** (version + 1)])
        bench.model = bench.versions[version] = other_version(PAIR, version, signatures=(spec,))
        bench.connections[0].reply(answer(replace(request, model="pair"), version=version))
        bench.read()
        bench.run_jobs()
        if pending.is_done:
            break
    assert isinstance(pending.error, predictd.RemoteProtocolError)
    assert len(bench.connections[0].requests) == 0
    assert version == 2 + MOST_REMAKES
