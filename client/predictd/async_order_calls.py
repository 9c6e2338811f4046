"""Order calls for coroutines: `load`, `unload`, `label` and `reload` of `AsyncClient`.

Owns their words. How orders are given is `ordering.py`'s, on which thread `loop_session.py`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from predictd.deadline import Deadline, check_timeout_ms
from predictd.routing import ordering
from predictd.routing.ordering import ORDER_TIMEOUT_MS

if TYPE_CHECKING:
    from predictd.in_flight.loop_session import LoopSession
    from predictd.order_result import OrderResult
    from predictd.routing.asking import Asking


class AsyncOrderCalls:
    """What `AsyncClient` has of them; see `Client.load` and its like."""

    _asking: Asking

    async def load(
        self, model: str, version: int | None = None, *, timeout_ms: float = ORDER_TIMEOUT_MS
    ) -> OrderResult:
        """Serve a version of a model, and return when it is ready, as `Client.load`.

        Args:
            model: The model's name.
            version: Its version; None for the newest of those that the server's configuration wants.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            PredictdError: As `Client.load`.
        """
        return await self._give(ordering.load(model, version), timeout_ms)

    async def unload(
        self, model: str, version: int | None = None, *, timeout_ms: float = ORDER_TIMEOUT_MS
    ) -> OrderResult:
        """Serve a version of a model no longer, and return when its memory is given back, as `Client.unload`.

        Args:
            model: The model's name.
            version: Its version; None for all.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            PredictdError: As `Client.load`.
        """
        return await self._give(ordering.unload(model, version), timeout_ms)

    async def label(
        self, model: str, label: str, version: int | None, *, timeout_ms: float = ORDER_TIMEOUT_MS
    ) -> OrderResult:
        """Let a label point at a version, or take it away, and return what was done, as `Client.label`.

        Args:
            model: The model's name.
            label: The label.
            version: A version that is ready; None to take the label away.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            PredictdError: As `Client.label`.
        """
        return await self._give(ordering.label(model, label, version), timeout_ms)

    async def reload(self, model: str | None = None, *, timeout_ms: float = ORDER_TIMEOUT_MS) -> OrderResult:
        """Look again at what there is of a model, serve what is wanted, and return what was done, as `Client.reload`.

        Args:
            model: The model's name; None for all.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            PredictdError: As `Client.reload`.
        """
        return await self._give(ordering.reload(model), timeout_ms)

    async def _give(self, make: ordering.MakeOrder, timeout_ms: float) -> OrderResult:
        time_ms, asking = check_timeout_ms("timeout_ms", timeout_ms), self._asking
        return await self._session_here().run(lambda clock: ordering.give_order(asking, make, Deadline(time_ms, clock)))

    def _session_here(self) -> LoopSession:
        raise NotImplementedError
