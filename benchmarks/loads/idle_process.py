"""A client that was used and now waits: `python -m benchmarks.loads.idle_process ENDPOINT KIND`."""

from __future__ import annotations

import asyncio
import json
import sys

import predictd
from benchmarks.workloads import A

KINDS = {
    "client": "a Client after a call",
    "submit": "a Client after submit, with its thread",
    "asyncio": "an AsyncClient in its event loop",
}


def main(endpoint: str, kind: str) -> None:
    """Ask once, and wait for the end of standard input."""
    if kind == "asyncio":
        asyncio.run(_in_a_loop(endpoint))
        return
    client = predictd.Client(endpoint)
    if kind == "submit":
        client.submit(A.name, A.row()).result(60)
    else:
        client.predict(A.name, A.row())
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.read()


async def _in_a_loop(endpoint: str) -> None:
    async with predictd.AsyncClient(endpoint) as client:
        await client.predict(A.name, A.row())
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    main(*sys.argv[1:])
