"""Who is connected: reports and messages in every order that libzmq may deliver them in, and with reports lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_server.sockets.presence import Presence, may_be_unique


def made_up(count: int) -> bytes:
    return b"\0" + (count % (1 << 32)).to_bytes(4, "big")


class Kernel:
    """Gives descriptors out, lowest first, and delivers reports and messages in two queues, as libzmq does."""

    def __init__(self, first_id: int) -> None:
        self.next_id = first_id
        self.open: dict[int, bytes] = {}
        self.reports: list[tuple[str, int]] = []
        self.messages: list[tuple[bytes, int]] = []
        self.presence = Presence(made_up(first_id - 1))
        self.met: set[bytes] = set()
        self.left: set[bytes] = set()

    def connect(self) -> None:
        descriptor = next(number for number in range(100) if number not in self.open)
        self.open[descriptor] = made_up(self.next_id)
        self.next_id += 1
        self.reports.append(("opened", descriptor))

    def send(self, choice: int) -> None:
        if self.open:
            descriptor = sorted(self.open)[choice % len(self.open)]
            self.messages.append((self.open[descriptor], descriptor))

    def close(self, choice: int, *, is_reported: bool = True) -> None:
        if self.open:
            descriptor = sorted(self.open)[choice % len(self.open)]
            del self.open[descriptor]
            if is_reported:
                self.reports.append(("closed", descriptor))

    def read_reports(self) -> None:
        for what, descriptor in self.reports:
            getattr(self.presence, what)(descriptor)
        self.reports = []

    def receive(self) -> None:
        peer, descriptor = self.messages.pop(0)
        if peer not in self.presence.known:
            self.read_reports()
            self.presence.meet(peer, descriptor, "somebody")
            if peer in self.open.values():
                self.met.add(peer)

    def look(self) -> None:
        self.read_reports()
        while self.messages:
            self.receive()
        for peer in self.presence.take_left():
            assert peer not in self.open.values(), "a living client was taken for gone"
            self.left.add(peer)
        assert len(self.presence) <= 100
        assert len(self.presence.known) <= len(self.presence)


STEPS = st.lists(
    st.one_of(
        st.just(("connect",)),
        st.tuples(st.just("send"), st.integers(0, 9)),
        st.tuples(st.just("close"), st.integers(0, 9)),
        st.just(("receive",)),
        st.just(("look",)),
        st.tuples(st.sampled_from(["close unreported", "lose a report"]), st.integers(0, 9)),
    ),
    max_size=80,
)


def play(kernel: Kernel, steps: list[tuple], *, reliable: bool) -> None:
    for what, *choice in steps:
        if what == "receive":
            if kernel.messages:
                kernel.receive()
        elif what == "close unreported":
            if not reliable:
                kernel.close(choice[0], is_reported=False)
        elif what == "lose a report":
            if not reliable and kernel.reports:
                kernel.reports.pop(choice[0] % len(kernel.reports))
        else:
            getattr(kernel, what)(*choice)


@settings(max_examples=500, deadline=None)
@given(steps=STEPS, first_id=st.sampled_from([7, (1 << 32) - 3, (1 << 31) - 2]))
def test_whoever_was_met_and_left_is_noticed_and_nothing_stays_behind(steps: list[tuple], first_id: int) -> None:
    kernel = Kernel(first_id)
    play(kernel, steps, reliable=True)
    for _ in list(kernel.open):
        kernel.close(0)
    kernel.look()
    assert kernel.met <= kernel.left
    assert len(kernel.presence) == len(kernel.presence.known) == 0


@settings(max_examples=1000, deadline=None)
@given(steps=STEPS, first_id=st.sampled_from([7, (1 << 32) - 3]))
def test_even_where_reports_are_lost_no_living_client_is_taken_for_gone(steps: list[tuple], first_id: int) -> None:
    kernel = Kernel(first_id)
    play(kernel, steps, reliable=False)
    kernel.look()


def test_a_client_with_a_routing_id_of_its_own_may_come_back_with_it_and_is_never_taken_for_gone() -> None:
    presence = Presence(made_up(6))
    for peer in (b"worker-1", b"", b"\0abc", b"abcde"):
        assert not may_be_unique(peer)
        presence.opened(9)
        presence.meet(peer, 9, "somebody")
        presence.closed(9)
    assert not presence.has_left
    assert not presence.known


@pytest.mark.parametrize("last", [6, (1 << 32) - 2, (1 << 32) - 1])
def test_only_an_id_that_libzmq_can_have_counted_to_is_one_that_it_made_up(last: int) -> None:
    presence = Presence(made_up(last))
    for accepted in range(1, 4):
        presence.opened(9)
        assert [presence.is_unique(made_up(last + count)) for count in range(5)] == [
            0 < count <= accepted for count in range(5)
        ]
    assert not presence.is_unique(b"\0abcd")
    presence.meet(b"\0abcd", 9, "one that chose its id")
    presence.closed(9)
    assert not presence.has_left


def test_a_last_message_of_an_earlier_connection_takes_nothing_from_the_one_that_has_its_descriptor_now() -> None:
    presence = Presence(made_up(-2))
    old, new = made_up(-1), made_up(0)
    for what in (presence.opened, presence.closed, presence.opened):
        what(9)
    presence.meet(new, 9, "new")
    presence.meet(old, 9, "old")
    assert presence.known == {new: "new"}
    assert not presence.has_left
    presence.closed(9)
    assert presence.take_left() == {new: "new"}


def test_a_descriptor_that_is_given_out_again_ends_the_connection_that_had_it() -> None:
    presence = Presence(made_up(0))
    presence.opened(9)
    presence.meet(made_up(1), 9, "pid 1")
    presence.opened(9)
    assert presence.take_left() == {made_up(1): "pid 1"}
    assert len(presence) == 1
