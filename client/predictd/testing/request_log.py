"""What a fake was asked, in order: for a test to look at, to wait for and to assert.

Owns `SeenRequest` and the log. It answers nothing. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd.prediction import describe
from predictd.testing.monitor import Monitor
from predictd_proto.messages import PredictRequest
from predictd_proto.metadata import SignatureSpec
from predictd_proto.structures import fill_structure

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How long a test waits for something that should happen at once; only a failing test waits so long.
DEFAULT_WAIT_S = 30.0
_MOST_SHOWN = 20


@dataclass(eq=False)
class SeenRequest:
    """One predict request that a fake got.

    Attributes:
        model: The model's name.
        inputs: The inputs, nested as the model takes them; by tensor name where there is no such model. Owned copies.
        arrays: The same by tensor name.
        version: The version that was asked for: a number, a label, or None for the latest.
        signature: The signature that was asked for; None for the default.
        rows: Length of axis 0 of the inputs.
        timeout_ms: What was left of the caller's time when it was sent, in milliseconds.
        caller_class: As given to `Client.predict`.
        traceparent: Likewise.
        task_id: Likewise.
        task_name: Likewise.
        id: The request's id on its connection.
        outcome: "answered", "dropped", an error's code, or "waiting" while it has none yet.
        is_cancelled: Its client no longer wants the answer.
    """

    model: str
    inputs: Any
    arrays: dict[str, NDArray[Any]]
    version: int | str | None
    signature: str | None
    rows: int
    timeout_ms: float | None
    caller_class: str
    traceparent: str
    task_id: str
    task_name: str
    id: int
    outcome: str = "waiting"
    is_cancelled: bool = field(default=False)

    @classmethod
    def of(cls, request: PredictRequest, spec: SignatureSpec | None) -> SeenRequest:
        """Return a request as it is seen; None for a signature that is unknown."""
        arrays = {tensor.name: tensor.array() for tensor in request.tensors}
        is_known = spec is not None and arrays.keys() == {tensor.name for tensor in spec.inputs}
        return cls(
            model=request.model,
            inputs=fill_structure(spec.input_structure, arrays) if spec is not None and is_known else arrays,
            arrays=arrays,
            version=request.version,
            signature=request.signature,
            rows=next((tensor.shape[0] for tensor in request.tensors if tensor.shape), 0),
            timeout_ms=request.timeout_ms,
            caller_class=request.caller_class,
            traceparent=request.traceparent,
            task_id=request.task_id,
            task_name=request.task_name,
            id=request.id,
        )

    def __repr__(self) -> str:
        asked = [repr(self.model)]
        asked += [f"version={self.version!r}"] if self.version is not None else []
        asked += [f"signature={self.signature!r}"] if self.signature is not None else []
        words = ("caller_class", "task_name", "task_id")
        asked += [f"{name}={getattr(self, name)!r}" for name in words if getattr(self, name)]
        cancelled = ", cancelled" if self.is_cancelled else ""
        return f"<request {' '.join(asked)} {describe(self.inputs)}: {self.outcome}{cancelled}>"


class RequestLog:
    """The requests of one fake.

    Args:
        monitor: Guards it.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._requests: list[SeenRequest] = []

    def add(self, request: SeenRequest) -> None:
        """Note a request."""
        with self._monitor:
            self._requests.append(request)

    def settle(self, request: SeenRequest, outcome: str) -> None:
        """Note what became of a request."""
        with self._monitor:
            request.outcome = outcome

    def cancel(self, request_id: int) -> None:
        """Note that a request is no longer wanted."""
        with self._monitor:
            for request in reversed(self._requests):
                if request.id == request_id:
                    request.is_cancelled = True
                    return

    def clear(self) -> None:
        """Forget everything."""
        with self._monitor:
            self._requests.clear()

    def of(self, model: str | None = None) -> list[SeenRequest]:
        """Return the requests for one model, or all, in the order in which they came."""
        with self._monitor:
            return [request for request in self._requests if model is None or request.model == model]

    def wait_for(self, count: int, model: str | None, timeout_s: float) -> list[SeenRequest]:
        """Wait until there are so many requests, and return them.

        Raises:
            AssertionError: They did not come in time; the text lists those that did.
        """
        if not self._monitor.wait_for(lambda: len(self.of(model)) >= count, timeout_s):
            what = f" for model {model!r}" if model is not None else ""
            text = f"expected {count} requests{what} within {timeout_s:g} s, got {self.listed()}"
            raise AssertionError(text)
        return self.of(model)

    def wait_until(self, predicate: Callable[[], object], timeout_s: float) -> None:
        """Wait until something holds; it is looked at after every request, answer and cancel, and every 50 ms.

        Raises:
            AssertionError: It did not come to hold in time.
        """
        if not self._monitor.wait_for(predicate, timeout_s):
            text = f"waited {timeout_s:g} s in vain for {predicate}; the fake got {self.listed()}"
            raise AssertionError(text)

    def assert_asked(self, model: str | None, *, inputs: Any, times: int | None, fields: dict[str, Any]) -> None:
        """Check that there was a request, or exactly so many, with these properties.

        Raises:
            AssertionError: There was not; the text lists what there was.
        """
        unknown = [name for name in fields if name not in SeenRequest.__dataclass_fields__]
        if unknown:
            text = f"a request has no {', '.join(unknown)}; it has {', '.join(SeenRequest.__dataclass_fields__)}"
            raise TypeError(text)
        found = [request for request in self.of(model) if _is_like(request, inputs, fields)]
        if len(found) == times or (times is None and found):
            return
        properties = [f"model={model!r}"] if model is not None else []
        properties += [f"inputs={describe(inputs)} of these values"] if inputs is not None else []
        properties += [f"{name}={value!r}" for name, value in fields.items()]
        wanted = "a request" if times is None else f"{times} requests" if times != 1 else "1 request"
        like = f" with {', '.join(properties)}" if properties else ""
        text = f"expected {wanted}{like}, got {len(found)}; in all, the fake got {self.listed()}"
        raise AssertionError(text)

    def listed(self) -> str:
        """Return the requests as text, one a line."""
        requests = self.of()
        if not requests:
            return "no requests"
        lines = [f"\n  {number}. {request}" for number, request in enumerate(requests[:_MOST_SHOWN], start=1)]
        if len(requests) > _MOST_SHOWN:
            lines.append(f"\n  ... and {len(requests) - _MOST_SHOWN} more")
        return f"{len(requests)} {'request' if len(requests) == 1 else 'requests'}:{''.join(lines)}"


def _is_like(request: SeenRequest, inputs: Any, fields: dict[str, Any]) -> bool:
    if any(getattr(request, name) != value for name, value in fields.items()):
        return False
    return inputs is None or _is_equal(request.inputs, inputs)


def _is_equal(seen: Any, wanted: Any) -> bool:
    if isinstance(seen, dict):
        return (
            isinstance(wanted, dict)
            and seen.keys() == wanted.keys()
            and all(_is_equal(seen[key], wanted[key]) for key in seen)
        )
    if isinstance(seen, list):
        return isinstance(wanted, (list, tuple)) and len(seen) == len(wanted) and all(map(_is_equal, seen, wanted))
    try:
        return _is_equal_array(seen, np.asarray(wanted))
    except (TypeError, ValueError):  # ragged, or words where numbers were asked
        return False


def _is_equal_array(seen: NDArray[Any], wanted: NDArray[Any]) -> bool:
    if seen.shape != wanted.shape:
        return False
    if seen.dtype == object:
        words = [item.encode() if isinstance(item, str) else item for item in wanted.reshape(-1).tolist()]
        return bool(seen.reshape(-1).tolist() == words)
    if seen.dtype.kind in "biu":
        return bool(np.array_equal(seen, wanted))
    # As the wire carries it: what a caller gave as float64 may have been cast.
    return bool(np.array_equal(seen, wanted.astype(seen.dtype), equal_nan=seen.dtype.kind in "fc"))
