"""An ASGI application of the matrix: `GET /?row=5`, asked by `AsyncClient`; with BLOCKING set, in a pool of threads."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

from tests.pools import asker

_threads = ThreadPoolExecutor(64)


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer one request, or the server's own messages at its start and end."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    query = parse_qs(scope["query_string"].decode())
    body = json.dumps(await _ask(int(query["row"][0]))).encode() if query else b"up"
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _ask(row: int) -> dict[str, Any]:
    if os.environ.get("BLOCKING"):
        return await asyncio.get_running_loop().run_in_executor(_threads, asker.ask, row)
    from tests.pools.async_asker import ask

    return await ask(row)


async def _live(
    receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown" and not os.environ.get("BLOCKING"):
            from tests.pools.async_asker import client

            await client.aclose()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
