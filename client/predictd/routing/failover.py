"""Failover: how one call goes on from endpoint to endpoint, and when there is no point in going on.

Owns the order of endpoints within one call, the share of its time that finding each of them may take, and the rounds:
the next endpoint is asked at once, and only when all of them have failed there is a pause. That a model or version is
not served is final once all of them say so: while servers are started one after the other, some don't have it yet. It
asks nobody and sleeps never; with one endpoint it is `Retries`' rule and nothing else. One caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from predictd.deadline import Deadline
from predictd.requests.link import Link
from predictd.routing.draws import draw
from predictd.routing.endpoint_errors import combined, is_not_served, was_refused_unsent
from predictd.routing.retries import Retries, Tries
from predictd.routing.routes import Routes
from predictd.wording import restated, without_wait
from predictd_proto.errors import (
    DeadlineExceededError,
    PredictdError,
    RetryableError,
    ServerLostError,
    ServerUnavailableError,
)
from predictd_proto.messages import Receipt
from predictd_proto.quantities import seconds_text

#: What finding one of several endpoints may take in the first round; it doubles with each round. A server that is there
#: shakes hands within a few milliseconds.
FIRST_SHARE_MS = 500.0

#: Between rounds in which nobody was found at all.
FIRST_PAUSE_MS = 10.0
MOST_PAUSE_MS = 250.0


class Failover:
    """One call's way through the endpoints: `link`, then `answered` or `failed`, then `link` again.

    Args:
        routes: The endpoints.
        retries: The policy; None to send a request once only. Endpoints where it could not even be sent are passed
            over all the same: that is a part of connecting.
        deadline: Until when to go on.
        is_reading: It is no request but a look (status, models), which may be repeated at will.
        draw: Returns a number from 0 up to 1.
    """

    def __init__(
        self,
        routes: Routes,
        retries: Retries | None,
        deadline: Deadline,
        *,
        is_reading: bool = False,
        draw: Callable[[], float] = draw,
    ) -> None:
        self._routes = routes
        self._retries = retries
        self._deadline = deadline
        self._is_reading = is_reading
        self._draw = draw
        self._tries: Tries | None = None
        self._link: Link = routes.links[0]
        self._tried: list[Link] = []
        self._errors: dict[Link, PredictdError] = {}
        self._losses = 0
        self._rounds = 0
        self._was_anybody_there = False

    def link(self) -> Link:
        """Choose where to ask now; the request counts as in progress there until it has answered, failed or ended."""
        link = self._link = self._routes.choose(self._tried)
        if self._routes.only is not None:
            return link
        self._routes.began(link, self)
        longest_ms = self._deadline.remaining_ms / (len(self._routes.links) - len(self._tried) + 1)
        share_ms = FIRST_SHARE_MS * 2.0 ** min(self._rounds, 32) if self._rounds else FIRST_SHARE_MS
        return link.hurried(share_ms if share_ms < longest_ms else longest_ms)

    def answered(self, receipt: Receipt | None = None) -> None:
        """Take note that it has answered."""
        self._routes.answered(self._link, receipt)
        self.ended()

    def ended(self) -> None:
        """Count the request no longer; more than once does no harm."""
        self._routes.ended(self._link, self)

    def is_final(self, error: PredictdError) -> bool:
        """Return whether an error is one that no endpoint would mend."""
        return not isinstance(error, RetryableError) and (self._routes.only is not None or not is_not_served(error))

    def failed(self, error: PredictdError) -> float:
        """Take note that it has failed, and return how long to wait before asking again, in milliseconds.

        Raises:
            PredictdError: There is no point in going on; the error tells of every endpoint that was asked.
        """
        self._routes.failed(self._link, error)
        self.ended()
        if self.is_final(error):
            raise self._told_before(error)
        if self._routes.only is not None:
            return self._pause_of_one_ms(error)
        if isinstance(error, DeadlineExceededError):
            raise self._told_before(error)
        self._errors[self._link] = error
        self._tried.append(self._link)
        if not self._may_go_on(error):
            raise self._final()
        if len(self._tried) < len(self._routes.links):
            return 0.0
        pause_ms = self._pause_of_round_ms()
        if pause_ms is None or pause_ms >= self._deadline.remaining_ms:
            raise self._final()
        self._tried.clear()
        self._rounds += 1
        return pause_ms

    def _pause_of_one_ms(self, error: PredictdError) -> float:
        assert isinstance(error, RetryableError), "others are final where there is one endpoint"
        if self._retries is None:
            raise error
        if self._tries is None:
            self._tries = Tries(self._retries, self._deadline, self._draw)
        pause_ms = self._tries.pause_ms(error)
        if pause_ms is None:
            raise self._tries.final(error)
        return pause_ms

    def _may_go_on(self, error: PredictdError) -> bool:
        if self._deadline.is_over:
            return False
        if was_refused_unsent(error) or is_not_served(error):
            return True
        self._was_anybody_there = True
        if self._is_reading or self._retries is None:
            return self._is_reading
        self._losses += isinstance(error, ServerLostError)
        return self._losses <= self._retries.resends

    def _pause_of_round_ms(self) -> float | None:
        if all(is_not_served(error) for error in self._errors.values()):
            return None
        if self._was_anybody_there:
            if self._retries is None:
                return None
            return self._retries.pause_ms(combined(self._errors), self._rounds + 1, self._draw)
        # Nobody was found who serves it: who comes up within the time for connecting is found, as with one endpoint.
        left_ms = self._routes.connect_timeout_ms - self._deadline.waited_ms
        if left_ms <= 0:
            return None
        longest_ms = min(FIRST_PAUSE_MS * 2.0 ** min(self._rounds, 32), MOST_PAUSE_MS)
        return min(longest_ms * (0.5 + self._draw() / 2), left_ms)

    def _final(self) -> PredictdError:
        last = self._errors[self._link]
        error = combined(self._errors)
        if self._rounds:
            waited = seconds_text(self._deadline.waited_ms)
            text = f"{without_wait(error.message)} (given up after {self._rounds + 1} rounds in {waited})"
            error = restated(error, text)
        if self._is_time_out(error):
            text = f"time-out while connecting; {error.message}"
            error = DeadlineExceededError(text, {**error.detail, "state": "connecting"})
        if error is not last:
            error.__cause__ = last
        return error

    def _is_time_out(self, error: PredictdError) -> bool:
        """Whether the call's own deadline ended the search for servers of which at least one may be there."""
        if not isinstance(error, ServerUnavailableError) or not error.detail.get("is_listening"):
            return False
        return self._deadline.waited_ms + self._deadline.remaining_ms < self._routes.connect_timeout_ms

    def _told_before(self, error: PredictdError) -> PredictdError:
        """Return a time-out with what other endpoints said before: that is where the time went, or a part of it."""
        others = {link: failed for link, failed in self._errors.items() if link is not self._link}
        if not others or not isinstance(error, DeadlineExceededError):
            return error
        told = restated(error, f"{error.message}. Before that: {combined(others).message}")
        told.__cause__ = error
        return told
