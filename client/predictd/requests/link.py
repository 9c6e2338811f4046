"""The link: all that a client holds of one endpoint in this process, and how it asks there.

Owns the pool, the catalogue, the control questions and when each is thrown away: with the process, with the server. It
makes nothing before it is first used. Any thread.
"""

from __future__ import annotations

from predictd.connections.connecting import connect, read_message
from predictd.connections.pool import Pool
from predictd.connections.private_directories import is_private, refuse_strangers
from predictd.connections.transport import Connection, ConnectionLost
from predictd.connections.turns import Place
from predictd.deadline import Deadline
from predictd.process import set_aside, this_process
from predictd.requests.catalogue import Catalogue, Key, Plan, choose_plan
from predictd.requests.request_errors import no_turn
from predictd_proto.endpoints import Endpoint
from predictd_proto.errors import DeadlineExceededError, RemoteProtocolError, ServerLostError, ServerUnavailableError
from predictd_proto.frames import encode
from predictd_proto.limits import Limits
from predictd_proto.messages import (
    ErrorResponse,
    Message,
    MetadataRequest,
    MetadataResponse,
    StatusRequest,
    StatusResponse,
)
from predictd_proto.metadata import ModelMetadata
from predictd_proto.orders import OrderRequest, OrderResponse
from predictd_proto.quantities import seconds_text
from predictd_proto.status import ServerStatus

#: How long a plan that could not be had is done without, where that is possible.
MISSING_MS = 10_000.0


class Link:
    """The way to one endpoint.

    Args:
        endpoint: Where the server listens.
        connect_timeout_ms: How long connecting may take; a call's own deadline may be sooner.

    Attributes:
        endpoint: Likewise.
        connect_timeout_ms: Likewise.
    """

    def __init__(self, endpoint: Endpoint, *, connect_timeout_ms: float) -> None:
        self.endpoint = endpoint
        self.connect_timeout_ms = connect_timeout_ms
        self._pool: Pool | None = None
        self._catalogue = Catalogue("")

    def hurried(self, connect_timeout_ms: float) -> Link:
        """Return the same link for a caller that has others to ask: where nobody listens, it fails at once.

        Args:
            connect_timeout_ms: How long connecting may take where somebody listens.
        """
        return _HurriedLink(self, connect_timeout_ms)

    @property
    def pool(self) -> Pool:
        """This process's pool."""
        pool = self._pool
        if pool is None or pool.process is not this_process():
            if pool is not None:
                set_aside(pool)
            # Of two threads one wins; the other's pool goes when its call is done, and its connection with it.
            pool = self._pool = Pool()
        return pool

    def close(self) -> None:
        """Close the idle connections; the next call makes a new pool."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if pool.process is this_process():
            pool.close()
        else:
            set_aside(pool)

    def drop_idle(self) -> None:
        """Close the idle connections: the next call has to shake hands, which tells whether the server is there."""
        pool = self._pool
        if pool is not None and pool.process is this_process():
            pool.close_idle()

    def connect(self, pool: Pool, deadline: Deadline, model: str, *, may_wait: bool = True) -> Connection:
        """Return a connection for requests: a new one, but where the process has enough, another caller's.

        Args:
            pool: Where it will be given back to.
            deadline: Until when.
            model: Which model it is for, for errors.
            may_wait: Wait for another caller's; not for callers that hold connections themselves.

        Raises:
            ServerUnavailableError: Nobody answers.
            DeadlineExceededError: Somebody is there, but did not answer by the call's own deadline.
            ProtocolError: What answers speaks another protocol.
            ConfigError: It is the default endpoint, and others may have put a server there.
        """
        if may_wait:
            # Where there are other endpoints, not for long: all of them may be with callers whose server is stuck.
            turn = pool.await_turn(self._within(deadline))
            if not isinstance(turn, Place):
                return turn
            if deadline.is_over:
                turn.leave()
                raise no_turn(model, self.endpoint, deadline.waited_ms, pool.most_connections)
        else:
            turn = pool.claim()
        try:
            connection = self._connect(self.endpoint.data, deadline, f"model {model!r}")
        except BaseException:
            turn.leave()
            raise
        connection.place = turn
        pool.welcome(connection)
        return connection

    def plan(self, server_id: str, key: Key, deadline: Deadline) -> tuple[Plan, bool]:
        """Return the plan for a model, version and signature, and whether it was fetched just now.

        Raises:
            PredictdError: As `choose_plan`; and it could not be fetched.
        """
        catalogue = self._catalogue
        if catalogue.server_id != server_id:
            catalogue = self._catalogue = Catalogue(server_id)
        plan = catalogue.plans.get(key)
        if plan is not None:
            return plan, False
        plan = catalogue.plans[key] = choose_plan(self.models(key[0], deadline), key)
        return plan, True

    def known(self, server_id: str, key: Key) -> Plan | None:
        """Return the plan for a model, version and signature where it is remembered, without asking anybody."""
        catalogue = self._catalogue
        return catalogue.plans.get(key) if catalogue.server_id == server_id else None

    def known_plan(self, key: Key, deadline: Deadline, *, is_fresh: bool = False) -> tuple[Plan, Limits]:
        """Return the plan of the server that answers now, and what that server takes in one request.

        Args:
            key: Of which model, version and signature.
            deadline: Until when.
            is_fresh: Ask what is served now, whatever is remembered.

        Raises:
            PredictdError: As `plan`; and nobody answers.
        """
        pool = self.pool
        connection = pool.take()
        if connection is None or not connection.is_connected:
            if connection is not None:
                connection.close()
                pool.close_idle()
            connection = self.connect(pool, deadline, key[0])
        server_id, limits = connection.greeting.server_id, connection.greeting.limits
        pool.give_back(connection)
        if is_fresh:
            return self._fresh_plan(server_id, key, deadline), limits
        return self.plan(server_id, key, deadline)[0], limits

    def _fresh_plan(self, server_id: str, key: Key, deadline: Deadline) -> Plan:
        plan, known = choose_plan(self.models(key[0], deadline), key), self.known(server_id, key)
        if known is not None and known.metadata == plan.metadata:
            plan = known  # what was found out about its requests still holds
        self.remember(server_id, key, plan)
        self.remember(server_id, (key[0], plan.metadata.version, key[2]), plan)
        return plan

    def remember(self, server_id: str, key: Key, plan: Plan) -> None:
        """Note that this plan is the one for a key now."""
        catalogue = self._catalogue  # read once: another thread may have reached a newer server meanwhile
        if catalogue.server_id == server_id:
            catalogue.plans[key] = plan

    def asked_in_vain(self, server_id: str, key: Key) -> None:
        """Note that a plan could not be had just now."""
        catalogue = self._catalogue
        if catalogue.server_id == server_id:
            catalogue.missing[key] = Deadline(MISSING_MS)

    def was_in_vain(self, server_id: str, key: Key) -> bool:
        """Return whether a plan could not be had a moment ago: callers that can do without it don't ask again yet."""
        catalogue = self._catalogue
        missing = catalogue.missing.get(key)
        return missing is not None and catalogue.server_id == server_id and not missing.is_over

    def forget(self, model: str) -> None:
        """Drop what is known of a model's signatures: it may have changed."""
        self._catalogue.forget(model)

    def models(self, model: str | None, deadline: Deadline) -> tuple[ModelMetadata, ...]:
        """Return what is served, as the control socket tells: one model's versions, or all where it has none.

        Raises:
            PredictdError: It could not be fetched.
        """
        answer = self._ask_control(MetadataRequest(id=1, model=model), deadline)
        if isinstance(answer, MetadataResponse):
            # Nothing of that name: all of them, for the text of the error to come.
            return answer.models if answer.models or model is None else self.models(None, deadline)
        raise _unexpected(self.endpoint.control, answer, MetadataResponse)

    def status(self, deadline: Deadline) -> ServerStatus:
        """Return how the server is.

        Raises:
            PredictdError: It could not be fetched.
        """
        answer = self._ask_control(StatusRequest(id=1), deadline)
        if isinstance(answer, StatusResponse):
            return answer.status
        raise _unexpected(self.endpoint.control, answer, StatusResponse)

    def order(self, request: OrderRequest, deadline: Deadline) -> OrderResponse:
        """Give an order and return what became of it; what is known of the models' signatures may have changed then.

        Raises:
            PredictdError: It was not carried out, or nobody knows whether it was.
        """
        answer = self._ask_control(request, deadline)
        for metadata in getattr(answer, "models", ()):
            self.forget(metadata.name)
        if isinstance(answer, OrderResponse):
            return answer
        raise _unexpected(self.endpoint.control, answer, OrderResponse)

    def _connect(self, address: str, deadline: Deadline, what: str) -> Connection:
        remaining_ms = deadline.remaining_ms
        if remaining_ms <= 0:
            text = f"{what} at {address}: no time left to connect in; nothing was sent"
            raise DeadlineExceededError(text, {"state": "connecting"})
        was_private = is_private(self.endpoint)
        try:
            connection = self._open(address, deadline.sooner(self.connect_timeout_ms))
        except ServerUnavailableError as error:
            if remaining_ms < self.connect_timeout_ms and error.detail.get("is_listening"):
                text = f"{what}: time-out while connecting; {error.message}"
                raise DeadlineExceededError(text, {**error.detail, "state": "connecting"}) from error
            raise
        if not was_private:
            refuse_strangers(self.endpoint, connection)
        return connection

    def _open(self, address: str, deadline: Deadline) -> Connection:
        return connect(address, deadline=deadline)

    def _within(self, deadline: Deadline) -> Deadline:
        """Return until when to wait for what a server that is there does at once."""
        return deadline

    def _ask_control(self, question: Message, deadline: Deadline) -> Message:
        """Ask on a connection of its own: these questions are rare, and most processes ask only one."""
        address = self.endpoint.control
        connection = self._connect(address, deadline, "server")
        try:
            connection.send(encode(question), None)
            frames = connection.receive(self._within(deadline))
        except ConnectionLost:
            text = f"server at {address}: gone while it was asked ({type(question).__name__}); was it stopped?"
            raise ServerLostError(text, {"endpoint": address}) from None
        finally:
            connection.close()
        if frames is None:
            what = f"server at {address}: no answer to a {type(question).__name__} within"
            text = f"{what} {seconds_text(deadline.waited_ms)}; {_silence(question)}"
            if not deadline.is_over:
                raise ServerUnavailableError(text, {"endpoint": address, "is_listening": True})
            raise DeadlineExceededError(text, {"endpoint": address, "state": "waiting"})
        answer = read_message(frames, address)
        if isinstance(answer, ErrorResponse):
            raise answer.error()
        return answer


class _HurriedLink(Link):
    """A link's other face: what it holds is the link's own, only the patience is less."""

    def __init__(self, link: Link, connect_timeout_ms: float) -> None:
        self._link = link
        self.endpoint = link.endpoint
        self.connect_timeout_ms = min(connect_timeout_ms, link.connect_timeout_ms)

    @property
    def _pool(self) -> Pool | None:
        return self._link._pool

    @_pool.setter
    def _pool(self, pool: Pool | None) -> None:
        self._link._pool = pool

    @property
    def _catalogue(self) -> Catalogue:
        return self._link._catalogue

    @_catalogue.setter
    def _catalogue(self, catalogue: Catalogue) -> None:
        self._link._catalogue = catalogue

    def _open(self, address: str, deadline: Deadline) -> Connection:
        return connect(address, deadline=deadline, is_awaited=False)

    def _within(self, deadline: Deadline) -> Deadline:
        return deadline.sooner(self.connect_timeout_ms)


def _silence(question: Message) -> str:
    """Return why there may be no answer."""
    if isinstance(question, OrderRequest):
        return "if it was begun it goes on, and it may still begin: `predictd models` shows what came of it"
    return "connected, but its control thread is silent: is it stopped?"


def _unexpected(address: str, answer: Message, expected: type) -> RemoteProtocolError:
    text = f"server at {address}: expected a {expected.__name__}, got a {type(answer).__name__}"
    return RemoteProtocolError(text)
