"""Shares by priority: newcomers, classes and shapes of rows each get theirs, whatever others have had; simulated."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_server.serving.account import Account
from predictd_server.serving.batch import Run
from predictd_server.serving.caller_class import CallerClass
from predictd_server.serving.fair_shares import Share
from tests.server.fake_model import CoreBench
from tests.server.test_classes import ClassSimulation
from tests.server.test_fair_shares import Simulation, always

RUN_S, WAIT_S = 0.1, 0.3
#: How long it takes until a priority leads a batch again.
TURN_S = WAIT_S + 3 * RUN_S


@dataclass
class User:
    """One of those that share an engine."""

    name: str
    priority: int
    weight: float
    begins_s: float = 0.0
    ends_s: float = 30.0
    waits_since_s: float = 0.0
    peers: list[User] = field(default_factory=list)

    @property
    def bound_s(self) -> float:
        """The bound of `fair_shares`, in turns of its priority."""
        turns = sum(peer.weight / self.weight + 2 for peer in self.peers)
        return (turns + 1) * TURN_S


@st.composite
def crowds(draw: st.DrawFn) -> list[User]:
    """Users who ask all the time; the last comes late, and one of the first may go before the end."""
    users = [
        User(f"u{index}", draw(st.integers(0, 1)), draw(st.sampled_from([0.5, 1.0, 2.0])))
        for index in range(draw(st.integers(2, 4)))
    ]
    users[-1].begins_s = draw(st.sampled_from([5.0, 15.0]))
    users[0].ends_s = draw(st.sampled_from([17.0, 30.0]))
    for user in users:
        user.peers = [peer for peer in users if peer is not user and peer.priority == user.priority]
    return users


#: A high one, an old low one and a new low one; the high one goes when the new one has come.
STARVED = [User("u0", 1, 1.0, ends_s=20.0), User("u1", 0, 1.0), User("u2", 0, 1.0, begins_s=15.0)]
STARVED[1].peers, STARVED[2].peers = [STARVED[2]], [STARVED[1]]


@settings(deadline=None, max_examples=15)
@given(users=crowds())
def test_of_classes_nobody_waits_for_longer_than_its_priority_s_others_take(users: list[User]) -> None:
    check_classes(users)


@settings(deadline=None, max_examples=15)
@given(users=crowds())
def test_of_models_nobody_waits_for_longer_than_its_priority_s_others_take(users: list[User]) -> None:
    check_models(users)


def test_who_comes_late_with_a_low_priority_does_not_pay_for_what_a_high_one_has_had() -> None:
    check_classes(STARVED)
    check_models(STARVED)


def check_classes(users: list[User]) -> None:
    classes = [CallerClass(name=user.name, priority=user.priority, weight=user.weight) for user in users]
    simulation = ClassSimulation({"m": always(RUN_S)}, classes, priority_wait_s=WAIT_S)
    waiting: dict[str, int] = defaultdict(int)

    def run() -> str:
        taken = simulation.took()
        (name,) = taken
        waiting[name] -= taken[name]
        return name

    def ask(name: str) -> None:
        while waiting[name] < 128:
            simulation.ask(name, size=64)
            waiting[name] += 64

    check(users, simulation, run, ask)


def check_models(users: list[User]) -> None:
    simulation = Simulation({user.name: always(RUN_S) for user in users}, priority_wait_s=WAIT_S)
    for user in users:
        simulation.serve(user.name, priority=user.priority, weight=user.weight)

    def ask(name: str) -> None:
        model = simulation.bench.core.admission.models.get(name)
        if model is None or model.rows < 128:
            simulation.send(name, 2, size=64)

    check(users, simulation, simulation.run, ask)


def check(users, simulation, run, ask) -> None:
    start_s = simulation.bench.now
    for user in users:
        user.waits_since_s = user.begins_s
    while (now := simulation.bench.now - start_s) < 30:
        for user in users:
            if user.begins_s <= now < user.ends_s:
                ask(user.name)
        name = run()
        for user in users:
            if user.name == name:
                user.waits_since_s = simulation.bench.now - start_s
            elif user.begins_s <= now < user.ends_s:
                waited_s = simulation.bench.now - start_s - user.waits_since_s
                assert waited_s <= user.bound_s, f"{user.name} of {users}"


@pytest.mark.parametrize("weights", [(1.0, 1.0), (4.0, 1.0), (1.0, 4.0)])
def test_a_class_s_rows_of_one_shape_get_as_much_as_of_another_whoever_else_sends_such(
    weights: tuple[float, float],
) -> None:
    classes = [CallerClass(name=name, weight=weight) for name, weight in zip("ab", weights, strict=True)]
    bench = CoreBench((None, None), max_rows=100_000, max_bytes=1 << 30, classes=classes, fair_run_s=1000.0)
    floods = [("a", 64), ("b", 128), ("b", 64)]
    waiting = dict.fromkeys(floods, 0)
    served = dict.fromkeys(floods, 0)
    asked: dict[int, tuple[str, int]] = {}
    for _ in range(400):
        for flood in floods:
            while waiting[flood] < 16:
                number = len(asked)
                asked[number] = flood
                waiting[flood] += 1
                bench.send(number, np.zeros((1, flood[1]), np.float32), caller_class=flood[0])
        batch = bench.core.next_batch(bench.now)
        assert batch is not None
        batch.busy_s = RUN_S
        bench.now += RUN_S
        for part in batch.parts:
            waiting[asked[part.request.id]] -= part.rows
            served[asked[part.request.id]] += part.rows
        outputs = [np.zeros((batch.size, *batch.shapes[0]), np.float32)]
        bench.core.finish(batch, [Run(batch.parts, batch.rows, batch.size, outputs, None, 0.0, RUN_S)])
        bench.collect()
    assert served["b", 128] == pytest.approx(served["b", 64], abs=16)
    assert served["a", 64] / sum(served.values()) == pytest.approx(weights[0] / sum(weights), abs=0.02)


def test_an_account_counts_the_lines_below_it_and_has_the_weight_that_was_set_last() -> None:
    root = Account()
    model = root.of("m", 2.0)
    model.enter(Share())
    model.count(2)
    assert (root.waiting_lines, model.waiting_lines) == (2, 2)
    assert root.of("m", 3.0) is model
    assert model.share.weight == 3.0
    model.count(-2)
    assert root.waiting_lines == 0


def test_the_first_of_a_priority_to_wait_forgets_only_that_one_s_debts() -> None:
    shares = {}
    for name in ("low", "high"):
        root = Account()
        account = root.of("m", 1.0)
        root.users.charge(account.share, 5.0)
        shares[name] = root
    shares["high"].of("m", 1.0).enter(Share())
    assert shares["high"].users.now_s == 5.0
    assert shares["low"].users.now_s == 0.0
