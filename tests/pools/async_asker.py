"""The same questions as `asker`'s, asked by coroutines: for programs that live in an asyncio loop.

Owns the asynchronous client, made at import, before there is a loop. The loop's thread.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import predictd
from tests.pools.asker import ROWS, SLEEP, SLEEPER_INPUT, TICK_S, Ticker, answer

client = predictd.AsyncClient(timeout_ms=90_000, connect_timeout_ms=90_000)

_tickers: dict[asyncio.AbstractEventLoop, tuple[Ticker, asyncio.Task[None]]] = {}


async def ask(row: int) -> dict[str, Any]:
    """Return what the model says about a row, and how the loop's other coroutines fared meanwhile."""
    mine = ticker()
    with mine as before:
        if row == SLEEP:
            scores = (await client.predict("sleeper", SLEEPER_INPUT)).outputs
        else:
            scores = (await client.predict("mlp", ROWS[[row]])).outputs[0]
    return answer(row, scores, mine, before)


def ticker() -> Ticker:
    """Return this loop's ticker; a task of its own makes it tick."""
    loop = asyncio.get_running_loop()
    if loop not in _tickers:
        mine = Ticker(os.getpid())
        _tickers[loop] = mine, loop.create_task(_run(mine))
    return _tickers[loop][0]


async def _run(mine: Ticker) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        mine.tick()
