"""Asking: what every public face of the client (`Client`, `RemoteModel`, ...) asks by.

Owns the routes, the retries and the deadlines of one client, and the short way that most calls take: one endpoint, one
try. It knows neither what is asked nor what becomes of the answer. Any thread, any process; it opens nothing before the
first question.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from predictd.deadline import Deadline, check_timeout_ms
from predictd.requests.call import Call
from predictd.requests.catalogue import choose_version
from predictd.routing.endpoint_errors import combined
from predictd.routing.failover import Failover
from predictd.routing.retries import Retries
from predictd.routing.routed_call import RoutedCall
from predictd.routing.routes import Routes
from predictd.wording import named
from predictd_proto.endpoints import Endpoint, default_endpoints, parse_endpoints
from predictd_proto.errors import ConfigError, PredictdError, RetryableError
from predictd_proto.quantities import seconds_text

if TYPE_CHECKING:
    from predictd.requests.catalogue import Key, Plan
    from predictd.requests.link import Link
    from predictd.requests.request_frames import Question
    from predictd_proto.limits import Limits
    from predictd_proto.messages import PredictResponse
    from predictd_proto.metadata import ModelMetadata
    from predictd_proto.status import ServerStatus

Found = TypeVar("Found")

#: What finding one of several servers may take, at each look at whether it is ready.
READY_SHARE_MS = 2_000.0


class Asking:
    """One client's way to ask.

    Args:
        endpoints: Where servers listen: one, several, or one text with commas between them; None for the
            environment's, looked up at the first question.
        timeout_ms: What a call may take, if it doesn't say otherwise.
        connect_timeout_ms: What finding a server may take of that.
        retries: How calls are repeated within their time; None for never.

    Attributes:
        given: The endpoints, as they were given.
        timeout_ms: Likewise.
        connect_timeout_ms: Likewise.
        retries: Likewise.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] | None,
        *,
        timeout_ms: float,
        connect_timeout_ms: float,
        retries: Retries | None,
    ) -> None:
        self.given: str | tuple[str, ...] | None = _as_given(endpoints)
        self.timeout_ms: float = check_timeout_ms("timeout_ms", timeout_ms)
        self.connect_timeout_ms: float = check_timeout_ms("connect_timeout_ms", connect_timeout_ms)
        self.retries: Retries | None = _checked_retries(retries)
        self._routes: Routes | None = None if self.given is None else self._new_routes(parse_endpoints(self.given))

    @property
    def routes(self) -> Routes:
        """The endpoints and what is known of them."""
        routes = self._routes
        if routes is None:
            # Of two threads one wins; the other's have opened nothing yet.
            routes = self._routes = self._new_routes(default_endpoints())
        return routes

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where servers are looked for."""
        return tuple([str(link.endpoint) for link in self.routes.links])

    @property
    def words(self) -> dict[str, Any]:
        """What a client was given, by the names of its arguments: enough to make another like it."""
        return {
            "endpoint": self.given,
            "timeout_ms": self.timeout_ms,
            "connect_timeout_ms": self.connect_timeout_ms,
            "retries": self.retries,
        }

    def __str__(self) -> str:
        # To be shown must not look at the environment: what it says counts from the first question on.
        where = "default endpoint" if self._routes is None else ", ".join(self.endpoints)
        return f"{where}, time-out {seconds_text(self.timeout_ms)}"

    def close(self) -> None:
        """Close the idle connections; a later question opens new ones."""
        if self._routes is not None:
            for link in self._routes.links:
                link.close()

    def without_retries(self) -> Asking:
        """Return another way to ask the same endpoints, which sends each request once; the routes are shared."""
        twin = Asking(self.given, timeout_ms=self.timeout_ms, connect_timeout_ms=self.connect_timeout_ms, retries=None)
        twin._routes = self.routes
        return twin

    def deadline(self, timeout_ms: float | None) -> Deadline:
        """Return the deadline of a call that begins now."""
        return Deadline(self.timeout_ms if timeout_ms is None else check_timeout_ms("timeout_ms", timeout_ms))

    def ask(self, question: Question, deadline: Deadline) -> tuple[PredictResponse, Plan]:
        """Ask, repeat where that helps, and return the answer with the plan that reads it.

        Raises:
            PredictdError: There is no answer, or it is an error.
        """
        link = (self._routes or self.routes).only
        if link is None:
            return self._routed(question, deadline).finish()
        try:
            call = Call(link, question, deadline)
            call.begin()
            return call.finish()
        except RetryableError as error:
            if self.retries is None:
                raise
            return self._routed(question, deadline).go_on_after(error)

    def begin(self, question: Question, deadline: Deadline, *, is_alone: bool) -> RoutedCall:
        """Send a question without waiting for its answer: `finish` waits, `give_up` drops it.

        Args:
            question: What is asked.
            deadline: Until when.
            is_alone: Whether its caller has no other question under way.

        Raises:
            PredictdError: It can't be sent, and trying again would not help.
        """
        call = self._routed(question, deadline)
        call.begin(is_alone=is_alone)
        return call

    def plan(self, key: Key, deadline: Deadline, *, is_fresh: bool = False) -> tuple[Plan, Limits]:
        """Return how a model, version and signature is called, and what the server takes in one request.

        Args:
            key: Of which.
            deadline: Until when.
            is_fresh: Ask what is served now, whatever is remembered.
        """
        return self._look(lambda link: link.known_plan(key, deadline, is_fresh=is_fresh), deadline, self.retries)

    def metadata(self, model: str, version: int | str | None, deadline: Deadline) -> ModelMetadata:
        """Return what a model version is, as the first server that answers tells now."""
        return self._look(
            lambda link: choose_version(link.models(model, deadline), model, version), deadline, self.retries
        )

    def models(self, model: str | None, deadline: Deadline) -> tuple[ModelMetadata, ...]:
        """Return what the first server that answers serves: one model's versions, or all where it has none."""
        return self._look(lambda link: link.models(model, deadline), deadline, self.retries)

    def status(self, deadline: Deadline) -> ServerStatus:
        """Return how the first server that answers is."""
        return self._look(lambda link: link.status(deadline), deadline, None)

    def any_ready(self, check: Callable[[ServerStatus], ServerStatus], deadline: Deadline) -> ServerStatus:
        """Look at each server once, and return the status of the first that passes a check.

        Raises:
            RetryableError: None does yet.
            PredictdError: None does, and waiting won't help.
        """
        links = self.routes.links
        if len(links) == 1:
            return check(links[0].status(deadline))
        errors: dict[Link, PredictdError] = {}
        for left, link in zip(range(len(links), 0, -1), links, strict=True):
            try:
                share_ms = min(READY_SHARE_MS, deadline.remaining_ms / (left + 1))
                return check(link.hurried(share_ms).status(deadline))
            except PredictdError as error:
                errors[link] = error
        waiting = {link: error for link, error in errors.items() if isinstance(error, RetryableError)}
        raise combined(waiting or errors)

    def _look(self, look: Callable[[Link], Found], deadline: Deadline, retries: Retries | None) -> Found:
        failover = Failover(self.routes, retries, deadline, is_reading=True)
        while True:
            try:
                found = look(failover.link())
            except PredictdError as error:
                pause_ms = failover.failed(error)
            else:
                failover.answered()
                return found
            finally:
                failover.ended()
            if pause_ms:
                time.sleep(pause_ms / 1000)

    def _routed(self, question: Question, deadline: Deadline) -> RoutedCall:
        return RoutedCall(Failover(self.routes, self.retries, deadline), question, deadline)

    def _new_routes(self, endpoints: tuple[Endpoint, ...]) -> Routes:
        return Routes(endpoints, connect_timeout_ms=self.connect_timeout_ms)


def _checked_retries(retries: Any) -> Retries | None:
    if retries is None or isinstance(retries, Retries):
        return retries
    hint = ""
    if type(retries) is int:
        hint = f"; write retries=Retries(resends={retries})" if retries > 0 else "; write retries=None for no retries"
    text = f"retries: expected a predictd.Retries or None, got {named(retries)}{hint}"
    raise ConfigError(text)


def _as_given(endpoints: Any) -> str | tuple[str, ...] | None:
    if endpoints is None or isinstance(endpoints, str):
        return endpoints
    if isinstance(endpoints, Iterable):
        return tuple(endpoints)
    text = f"endpoint: expected an endpoint or a sequence of them, got {named(endpoints)}"
    raise ConfigError(text)
