"""Accounts: what each model, class and line has had of the engine, for each priority by itself.

Owns the tree by which time is shared out: a priority among models, a model's part among the classes of callers, a
class's among its lines, or a model's where there are no classes. Pure; pump thread only.

Runs that a priority leads are shared out and paid for within it alone. Strict priority drives times apart without
bound: in accounts that several priorities had in common, the times of the higher would be those where newcomers of the
lower begin, far behind all who have waited there.

What one gets of a run that another leads is shared out by a count of its own: it is no turn, and would otherwise keep
its user from turns for as long as it had had it.
"""

from __future__ import annotations

from collections.abc import Hashable

from predictd_server.serving.fair_shares import FairShares, Share


class Account:
    """One's part of the engine, and how it is shared out in turn.

    Args:
        parent: Of whose part this is one; None for a priority.
        weight: Its share of it.

    Attributes:
        parent: Likewise.
        share: What it has had.
        ride: What it has had of runs that others led.
        users: Shares out its own part.
        riders: Shares out what its users leave of their runs.
        waiting_lines: Lines with requests in them that it is shared out to in the end.
    """

    __slots__ = ("_accounts", "parent", "ride", "riders", "share", "users", "waiting_lines")

    def __init__(self, parent: Account | None = None, weight: float = 1.0) -> None:
        self.parent = parent
        self.share = Share(weight)
        self.ride = Share(weight)
        self.users = FairShares()
        self.riders = FairShares()
        self.waiting_lines = 0
        self._accounts: dict[Hashable, Account] = {}
        if parent is not None:
            parent.users.enter(self.share)
            parent.riders.enter(self.ride)

    def of(self, user: Hashable, weight: float) -> Account:
        """Return a user's account, with the weight that the user has now."""
        account = self._accounts.get(user)
        if account is None:
            account = self._accounts[user] = Account(self, weight)
        account.share.weight = account.ride.weight = weight
        return account

    def enter(self, share: Share) -> None:
        """Let one of its users begin to wait; where it is the first, so does this one."""
        if not self.waiting_lines:
            self.users.forgive()
            self.riders.forgive()
            if self.parent is not None:
                self.parent.enter(self.share)
                self.parent.riders.enter(self.ride)
        self.users.enter(share)

    def charge(self, seconds: float, run_s: float) -> None:
        """Make it pay for its part of a run of `run_s` that its equals shared, whoever led."""
        assert self.parent is not None, "a priority has no equals"
        self.parent.users.charge_part(self.share, seconds, run_s)

    def charge_ride(self, seconds: float) -> None:
        """Make it pay for its part of a run that another led."""
        assert self.parent is not None, "a priority has no equals"
        self.parent.riders.choose(self.ride)
        self.parent.riders.charge(self.ride, seconds)

    def count(self, lines: int) -> None:
        """Count lines in or out that begin or cease to wait, with all of whose part it is one."""
        account: Account | None = self
        while account is not None:
            account.waiting_lines += lines
            account = account.parent
