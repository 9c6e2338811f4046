"""The map source: where an asynchronous map takes its inputs from, an iterable or an asynchronous one.

Owns the waiting for the next input beside the oldest answer. The event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any


class MapSource:
    """Inputs, one at a time.

    Args:
        inputs: Where they come from.

    Attributes:
        is_over: Whether there are no more.
    """

    def __init__(self, inputs: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._arriving: AsyncIterator[Any] | None = None
        self._present: Iterator[Any] = iter(())
        if isinstance(inputs, AsyncIterable):
            self._arriving = aiter(inputs)
        else:
            self._present = iter(inputs)
        self._coming: asyncio.Task[Any] | None = None
        self.is_over: bool = False

    async def comes_before(self, landed: asyncio.Future[None] | None) -> bool:
        """Wait for the next input, or for an answer where that comes first; return whether it is the input."""
        if landed is not None and landed.done():
            return False
        if self._arriving is None:
            return True
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._next(self._arriving))
        awaited: set[asyncio.Future[Any]] = {self._coming}
        if landed is not None:
            awaited.add(landed)
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        return landed is None or not landed.done()

    async def take(self) -> Any:
        """Return the next input; None, and `is_over` from then on, where there is none."""
        if self._arriving is None:
            item = next(self._present, self)
        else:
            coming, self._coming = self._coming, None
            assert coming is not None, "taken before it came"
            item = await coming
        if item is not self:
            return item
        self.is_over = True
        return None

    async def close(self) -> None:
        """Wait for nothing any more."""
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
            if not coming.cancelled():
                coming.exception()  # looked at: nobody else will

    async def _next(self, arriving: AsyncIterator[Any]) -> Any:
        return await anext(arriving, self)
