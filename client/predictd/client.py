"""The client: what a program calls.

Owns the public calls and their words. How they are asked, where and how often is `asking.py`'s. A client may be made
anywhere (at import, before a fork) and used by any number of threads and in every child process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from predictd.deadline import DEFAULT_CONNECT_TIMEOUT_MS, DEFAULT_TIMEOUT_MS, Deadline, check_timeout_s
from predictd.future_calls import FutureCalls
from predictd.in_flight.windows import DEFAULT_MAX_IN_FLIGHT
from predictd.order_calls import OrderCalls
from predictd.prediction import Prediction, prediction_of
from predictd.requests.request_frames import Question, check_words
from predictd.routing.asking import Asking
from predictd.routing.looking import served_models, wait_until_ready
from predictd.routing.retries import Retries

if TYPE_CHECKING:
    from types import TracebackType

    from predictd_proto.metadata import ModelMetadata
    from predictd_proto.status import ServerStatus


class Client(FutureCalls, OrderCalls):
    """Asks a predictd server.

    Making a client opens nothing: no socket, no thread, no file. It connects at its first call, in the process that
    makes the call, and notices a fork by itself. It pickles as its arguments.

    Given several endpoints, whose servers serve the same models, it asks the least loaded, and where one fails a call,
    the next one at once. One that failed is left alone for a while: 50 to 100 ms, doubled each time it fails again, up
    to 2 s where it answers and refuses, 10 s where it doesn't answer. A server that doesn't have the model or version
    (yet) is passed over within the call: `ModelNotFoundError` and `VersionNotFoundError` mean that all of them say so.
    While one of the others can't be reached, that one is looked for as long as `connect_timeout_ms` allows.

    Args:
        endpoint: Where the server listens: `ipc:///absolute/path` or `tcp://host:port`; several as a sequence, or as
            one text with commas between them. None for the environment's `PREDICTD_ENDPOINT`, else the user's own
            socket; that is looked up at the first call.
        timeout_ms: What a call may take, if it doesn't say otherwise: connecting, retries and all, in milliseconds.
        connect_timeout_ms: What finding the server may take of that.
        retries: How calls are repeated within their time; None for never: then no request is sent twice, but one that
            could not be sent to one of several endpoints still goes to the next, and one that was made for a version
            that is no longer the one served is made anew.
        max_in_flight: How many requests of `submit` and `map` are under way at once.

    Attributes:
        asking: How it asks; for `RemoteModel` and its like.
        max_in_flight: As above.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(
        self,
        endpoint: str | Iterable[str] | None = None,
        *,
        timeout_ms: float = DEFAULT_TIMEOUT_MS,
        connect_timeout_ms: float = DEFAULT_CONNECT_TIMEOUT_MS,
        retries: Retries | None = Retries(),  # noqa: B008  (immutable)
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
    ) -> None:
        asking = Asking(endpoint, timeout_ms=timeout_ms, connect_timeout_ms=connect_timeout_ms, retries=retries)
        super().__init__(asking, max_in_flight=max_in_flight)
        self._without_retries: Client | None = self if retries is None else None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, ({**self.asking.words, "max_in_flight": self.max_in_flight},))

    def __repr__(self) -> str:
        return f"<predictd.Client {self.asking}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """Where the server is looked for; several endpoints with commas between them."""
        return ", ".join(self.endpoints)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where servers are looked for."""
        return self.asking.endpoints

    @property
    def timeout_ms(self) -> float:
        """What a call may take, if it doesn't say otherwise, in milliseconds."""
        return self.asking.timeout_ms

    def without_retries(self) -> Client:
        """Return this client as one with `retries=None`: for callers who themselves ask again, as Celery's tasks do.

        Both share connections and what is known of the endpoints.
        """
        twin = self._without_retries
        if twin is None:
            twin = Client(**{**self.asking.words, "retries": None}, max_in_flight=self.max_in_flight)
            twin.asking = self.asking.without_retries()
            self._without_retries = twin
        return twin

    def close(self) -> None:
        """Wait for the requests of `submit`, and close the idle connections.

        Each of them is done by its own deadline. Calls in progress on other threads go on. A later call opens new
        connections, so this is never a mistake. In a callback of a future nothing is waited for.
        """
        super().close()

    def predict(  # noqa: PLR0913  (each is a word on the wire)
        self,
        model: str,
        inputs: Any,
        *,
        version: int | str | None = None,
        signature: str | None = None,
        timeout_ms: float | None = None,
        cast: bool = False,
        caller_class: str = "",
        traceparent: str = "",
        task_id: str = "",
        task_name: str = "",
    ) -> Prediction:
        """Run a model on some rows.

        Args:
            model: The model's name.
            inputs: An array whose axis 0 counts the rows, e.g. float32[rows, 224, 224, 3]; for several inputs a list or
                dict of them as the model takes them, or a dict by tensor name. Lists of Python numbers become arrays.
            version: A version number, a label, or None for the latest that is ready.
            signature: The signature's name; None for the model's default.
            timeout_ms: What this call may take, in milliseconds; None for the client's time-out.
            cast: Cast inputs of another dtype to the model's; without it they are refused.
            caller_class: Which kind of caller this is ("interactive", a queue's name); the server may
                treat kinds differently, as its configuration says.
            traceparent: W3C trace context to pass on.
            task_id: The Celery task's id. Where this process dies, the server keeps the work for a while: the same
                request of the same task, from the process that runs it next, gets its answer.
            task_name: What kind of task that is, for the server's totals and log.

        Returns:
            The outputs, nested as the model gives them, and the receipt.

        Raises:
            TensorMismatchError: A tensor's name, dtype or shape is not what the model takes.
            ModelNotFoundError, VersionNotFoundError, SignatureNotFoundError: There is no such thing.
            RequestTooLargeError: The request is over one of the server's limits.
            ServerUnavailableError: Nobody answers at the endpoint.
            ServerLostError: The server went away with the request and didn't come back in time.
            OverloadedError, ModelNotReadyError, ServerDrainingError: It was so until the time was up.
            DeadlineExceededError: The time is up.
            PredictionError: The model raised for this request.
            ConfigError: An argument is of the wrong kind.
        """
        caller = (caller_class, traceparent, task_id, task_name)
        question = Question(model, inputs, version=version, signature=signature, cast=cast, caller=caller)
        asking = self.asking
        answer, plan = asking.ask(question, asking.deadline(timeout_ms))
        return prediction_of(answer, plan)

    def models(self, model: str | None = None, *, timeout_ms: float | None = None) -> tuple[ModelMetadata, ...]:
        """Return what is served, one entry per model version, newest version first; by the first server that answers.

        Args:
            model: Only this one's versions.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            ModelNotFoundError: There is no such model.
            ServerUnavailableError: Nobody answers at the endpoint.
            DeadlineExceededError: The time is up.
        """
        return served_models(self.asking, model, self.asking.deadline(timeout_ms))

    def metadata(
        self, model: str, version: int | str | None = None, *, timeout_ms: float | None = None
    ) -> ModelMetadata:
        """Return what a model version is: signatures, batch sizes, parameters. The server is asked each time.

        Args:
            model: The model's name.
            version: A version number, a label, or None for the latest that is ready.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            ModelNotFoundError, VersionNotFoundError: There is no such thing.
            ModelNotReadyError: It was still loading when the time was up.
            ServerUnavailableError: Nobody answers at the endpoint.
        """
        check_words(model, version, None)
        return self.asking.metadata(model, version, self.asking.deadline(timeout_ms))

    def status(self, *, timeout_ms: float | None = None) -> ServerStatus:
        """Return how the server is. Answered off the engine's thread: a busy server answers too.

        Of several servers the first that answers, the least loaded one being asked first; its `endpoint` says which.

        Args:
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            ServerUnavailableError: Nobody answers at the endpoint.
            DeadlineExceededError: The time is up.
        """
        return self.asking.status(self.asking.deadline(timeout_ms))

    def wait_until_ready(
        self, timeout_s: float = 60.0, *, model: str | None = None, sleep: Callable[[float], object] | None = None
    ) -> ServerStatus:
        """Wait until the server, or one of several, takes requests, and return its status.

        Args:
            timeout_s: How long to wait, in seconds.
            model: Wait until this model is ready, even if others are not.
            sleep: Waits for seconds between two looks; None for `time.sleep`, patched or not.

        Raises:
            ServerUnavailableError: Nobody answered in that time.
            ModelNotReadyError: Somebody did, but was not ready.
            ModelNotFoundError: The server is ready, but has no such model.
            ModelLoadError: That model could not be loaded.
            ProtocolError: What answers is no predictd, or one of another protocol.
        """
        deadline = Deadline(check_timeout_s("timeout_s", timeout_s))
        return wait_until_ready(self.asking, model, deadline, sleep=sleep)


def _rebuild(words: dict[str, Any]) -> Client:
    return Client(**words)
