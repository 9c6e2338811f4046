"""What `docs/pools.md` says of each row, and the tests that prove it.

Owns the two columns that say how far a row goes: requests at once, from what its tests are run with, and where its
client was made. Nothing is run here.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.pools.driver import REQUESTS
from tests.pools.program import HttpProgram, ShortQueueProgram
from tests.pools.sizes import PROCESSES
from tests.pools.worker import CONCURRENCY

BEFORE_FORK = "before the fork"
BEFORE_PATCH = "before the patch"
AFTER_PATCH = "after the patch"
AT_IMPORT = "at import"
PRELOAD = "after the fork; with `--preload` before it"


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        tests: The test ids of `test_celery_pools`, `test_processes` and `test_web_servers` that prove it.
        at_once: Requests that are sent to the program, or run in it, at once.
        made: Where the client was made, and where that was possible used, too.
    """

    tests: tuple[str, ...]
    at_once: str
    made: str


def _pool(name: str, made: str) -> Row:
    return Row((f"test_pool[{name}]",), f"{CONCURRENCY[name]:,}", made)


def _script(at_once: int, made: str, *kinds: str) -> Row:
    return Row(tuple(f"test_script[{kind}]" for kind in kinds), f"{at_once:,}", made)


def _gunicorn(worker: str, made: str) -> Row:
    return Row(tuple(f"test_gunicorn[{worker}-{way}]" for way in ("", "preload")), str(HttpProgram.parallel), made)


def _late(kind: str) -> Row:
    return Row((f"test_script_patched_late[{kind}]",), f"{REQUESTS:,}", BEFORE_PATCH)


ROWS: dict[str, dict[str, Row]] = {
    "Celery": {
        "`prefork`": _pool("prefork", BEFORE_FORK),
        "`threads`": _pool("threads", AT_IMPORT),
        "`gevent`": _pool("gevent", AFTER_PATCH),
        "`eventlet`": _pool("eventlet", AFTER_PATCH),
        "`solo`": _pool("solo", AT_IMPORT),
        "`task_always_eager`": _script(PROCESSES, AT_IMPORT, "eager"),
    },
    "Web servers": {
        "gunicorn `sync`": _gunicorn("sync", PRELOAD),
        "gunicorn `gthread`": _gunicorn("gthread", PRELOAD),
        "gunicorn `gevent`": _gunicorn("gevent", "after fork and patch; with `--preload` before both"),
        "uwsgi": Row(("test_uwsgi[prefork]", "test_uwsgi[threads]"), str(HttpProgram.parallel), BEFORE_FORK),
        "uvicorn, `AsyncClient`": Row(("test_uvicorn[AsyncClient]",), str(HttpProgram.parallel), AT_IMPORT),
        "uvicorn, `RemoteModel` or `Client`": Row(("test_uvicorn[blocking]",), str(HttpProgram.parallel), AT_IMPORT),
        "Django `runserver`": Row(
            ("test_django_runserver", "test_django_runserver_with_threads"), str(ShortQueueProgram.parallel), AT_IMPORT
        ),
        "Django `shell`": Row(("test_django_shell",), f"{REQUESTS:,}", AT_IMPORT),
    },
    "Scripts": {
        "threads": _script(REQUESTS, AT_IMPORT, "threads"),
        "`Client.submit`": _script(REQUESTS, AT_IMPORT, "submit"),
        "`multiprocessing`: fork": _script(PROCESSES, BEFORE_FORK, "fork"),
        "`multiprocessing`: forkserver, spawn": _script(PROCESSES, "in each process", "forkserver", "spawn"),
        "`concurrent.futures.ProcessPoolExecutor`": _script(PROCESSES, "as the start method has it", "executor"),
        "gevent": _late("gevent"),
        "eventlet": _late("eventlet"),
        "asyncio, `AsyncClient`": _script(REQUESTS, AT_IMPORT, "asyncio", "asyncio.run"),
        "asyncio, `Client` in `asyncio.to_thread`": Row(
            ("test_script[to_thread]",), "the executor's threads", AT_IMPORT
        ),
    },
}
