"""Fair shares: who comes next where several use one engine, by the time they have taken and not by turns.

Owns the arithmetic: start-time fair queueing (Goyal, Vin and Cheng, 1996) over runs that are charged when they have
ended, since only then it is known how long they took. Pure; whoever holds an instance keeps it to one thread.

Each user has a virtual time: the seconds it has taken, divided by its weight. Who waits and has the smallest comes
next. Who comes back after a pause starts from where the others are: a pause earns nothing, and a debt is kept for as
long as anybody waits. So while some users wait all the time, their virtual times differ by no more than one run of
each; nobody waits for longer than it takes the others to catch up with the user's own last run, and one run more of
each of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Share:
    """One user's part of the engine.

    Attributes:
        weight: Its share against the others'.
        virtual_s: Seconds it has taken, divided by its weight.
    """

    weight: float = 1.0
    virtual_s: float = 0.0


class FairShares:
    """Users of one engine.

    Each request meets it a few times: comparing takes a fifth of the time of `max`.

    Attributes:
        now_s: Where the user that runs, or ran last, began: nobody who waits is behind it.
    """

    __slots__ = ("_peak_s", "now_s")

    def __init__(self) -> None:
        self.now_s = 0.0
        self._peak_s = 0.0

    def enter(self, share: Share) -> None:
        """Let a user begin to wait."""
        if share.virtual_s < self.now_s:  # noqa: PLR1730
            share.virtual_s = self.now_s

    def choose(self, share: Share) -> None:
        """Note that a user's run begins; it must be one of those that wait."""
        if share.virtual_s > self.now_s:  # noqa: PLR1730
            self.now_s = share.virtual_s

    def charge(self, share: Share, seconds: float) -> None:
        """Make a user pay for a run."""
        share.virtual_s += seconds / share.weight
        if share.virtual_s > self._peak_s:  # noqa: PLR1730
            self._peak_s = share.virtual_s

    def charge_part(self, share: Share, seconds: float, run_s: float) -> None:
        """Make a user pay for its part of the run that began last, which another may have led.

        It was no turn of its own: it pays as if it was, at most. What is left of others' runs would else keep it from
        its turns for as long as it had had that.

        Args:
            share: Whose part.
            seconds: Of the part.
            run_s: Seconds of the whole run.
        """
        most_s = self.now_s + run_s / share.weight
        if share.virtual_s < most_s:
            self.charge(share, min(seconds, (most_s - share.virtual_s) * share.weight))

    def forgive(self) -> None:
        """Forget all debts: nobody waits, so nobody was kept waiting for them."""
        if self._peak_s > self.now_s:  # noqa: PLR1730
            self.now_s = self._peak_s
