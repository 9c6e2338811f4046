"""A script of some kind that asks for rows: `python -m tests.pools.script KIND`.

Takes a list of rows per line of standard input, asks for all of them at once in the way of its kind, and answers with a
line. Whatever the kind, the client was made and used before the fork or the patch: `asker` is imported first.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

from tests.pools import asker
from tests.pools.sizes import PROCESSES

Answers = list[dict]
Ways = Callable[[list[int]], Answers]


def threads() -> Ways:
    """A thread for every row."""

    def run(rows: list[int]) -> Answers:
        with ThreadPoolExecutor(len(rows)) as callers:
            return list(callers.map(asker.ask, rows))

    return run


def greenlets_of_gevent() -> Ways:
    """A greenlet for every row; patched after the client was used."""
    import gevent.monkey

    gevent.monkey.patch_all()
    import gevent.pool

    return lambda rows: gevent.pool.Pool(len(rows)).map(asker.ask, rows)


def greenlets_of_eventlet() -> Ways:
    """A green thread for every row; patched after the client was used."""
    import eventlet

    eventlet.monkey_patch()
    return lambda rows: list(eventlet.GreenPool(len(rows)).imap(asker.ask, rows))


def processes(method: str) -> Ways:
    """A pool of processes."""
    pool = multiprocessing.get_context(method).Pool(PROCESSES)
    return lambda rows: pool.map(asker.ask, rows, chunksize=1)


def executor() -> Ways:
    """`concurrent.futures`."""
    pool = ProcessPoolExecutor(PROCESSES)
    return lambda rows: list(pool.map(asker.ask, rows))


def eager() -> Ways:
    """Celery tasks that run where they are called, from several threads, as in a web process's tests."""
    from tests.pools.celery_tasks import app, scores

    app.conf.task_always_eager = True

    def run(rows: list[int]) -> Answers:
        with ThreadPoolExecutor(PROCESSES) as callers:
            return list(callers.map(lambda row: scores.delay(row).get(disable_sync_subtasks=False), rows))

    return run


def to_thread() -> Ways:
    """The blocking client in asyncio's threads."""
    import asyncio

    async def ask_all(rows: list[int]) -> Answers:
        return list(await asyncio.gather(*(asyncio.to_thread(asker.ask, row) for row in rows)))

    return lambda rows: asyncio.run(ask_all(rows))


def coroutines() -> Ways:
    """A coroutine for every row, in one loop for as long as the script lives."""
    import asyncio

    from tests.pools import async_asker

    loop = asyncio.new_event_loop()

    async def ask_all(rows: list[int]) -> Answers:
        return list(await asyncio.gather(*(async_asker.ask(row) for row in rows)))

    return lambda rows: loop.run_until_complete(ask_all(rows))


def futures() -> Ways:
    """`Client.submit`: a future for every row, from one thread."""
    from tests.pools.asker import SLEEP, SLEEPER_INPUT, answer, client, ticker

    def submit(row: int) -> Future:
        return client.submit("sleeper", SLEEPER_INPUT) if row == SLEEP else client.submit("mlp", asker.ROWS[[row]])

    def run(rows: list[int]) -> Answers:
        mine = ticker()
        with mine as before:
            pending = [(row, submit(row)) for row in rows]
            return [answer(row, future.result().outputs[0], mine, before) for row, future in pending]

    return run


def loop_after_loop() -> Ways:
    """The same, but with a new loop for every list of rows, as `asyncio.run` makes them."""
    import asyncio

    from tests.pools import async_asker

    async def ask_all(rows: list[int]) -> Answers:
        return list(await asyncio.gather(*(async_asker.ask(row) for row in rows)))

    return lambda rows: asyncio.run(ask_all(rows))


KINDS: dict[str, Callable[[], Ways]] = {
    "threads": threads,
    "gevent": greenlets_of_gevent,
    "eventlet": greenlets_of_eventlet,
    "fork": lambda: processes("fork"),
    "forkserver": lambda: processes("forkserver"),
    "spawn": lambda: processes("spawn"),
    "executor": executor,
    "eager": eager,
    "to_thread": to_thread,
    "submit": futures,
    "asyncio": coroutines,
    "asyncio.run": loop_after_loop,
}


def main(kind: str) -> None:
    """Answer until standard input ends."""
    run = KINDS[kind]()
    for line in iter(sys.stdin.readline, ""):
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
