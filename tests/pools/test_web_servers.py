"""Web servers: the client is made where the application is loaded; where that is before the fork, used there too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import CHECKOUT
from tests.pools.driver import required
from tests.pools.program import HttpProgram, ScriptProgram, ShortQueueProgram, beside_python, python

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.tensorflow]

WSGI = "tests.pools.wsgi_app:application"
ASGI = "tests.pools.asgi_app:application"
MANAGE = "tests.pools.django_site"

Starts = Callable[..., HttpProgram]
Passes = Callable[..., None]

GUNICORN = {
    "sync": ["--workers", "4"],
    "gthread": ["--workers", "2", "--threads", "32"],
    "gevent": ["--workers", "2"],
}


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
@pytest.mark.parametrize("worker", list(GUNICORN))
def test_gunicorn(worker: str, preload: list[str], start_program: Starts, passes: Passes) -> None:
    required("gunicorn")
    required("gevent")
    options = ["--worker-class", worker, *GUNICORN[worker], *preload, "--timeout", "100", "--no-control-socket"]
    program = start_program(
        HttpProgram, lambda port: python("-m", "gunicorn", WSGI, "--bind", f"127.0.0.1:{port}", *options)
    )
    passes(program)


@pytest.mark.parametrize("threads", [[], ["--enable-threads", "--threads", "16"]], ids=["prefork", "threads"])
def test_uwsgi(threads: list[str], start_program: Starts, passes: Passes) -> None:
    """Loads the application, then forks in C: no hook of Python's runs."""
    required("pyuwsgi")
    options = ["--master", "--processes", "4", "--need-app", "--die-on-term", "--pythonpath", str(CHECKOUT)]
    program = start_program(
        HttpProgram,
        lambda port: [
            beside_python("uwsgi"),
            "--http-socket",
            f"127.0.0.1:{port}",
            "--wsgi-file",
            str(CHECKOUT / "tests/pools/wsgi_app.py"),
            *options,
            *threads,
        ],
    )
    passes(program)


@pytest.mark.parametrize("client", ["AsyncClient", "blocking"])
def test_uvicorn(client: str, start_program: Starts, passes: Passes) -> None:
    required("uvicorn")
    environment = {"BLOCKING": "1"} if client == "blocking" else {}
    program = start_program(
        HttpProgram, lambda port: python("-m", "uvicorn", ASGI, "--port", str(port), "--no-access-log"), **environment
    )
    passes(program)


def test_django_runserver(start_program: Starts, passes: Passes) -> None:
    """With its reloader, so that a process with the client in it starts another one."""
    required("django")
    passes(start_program(ShortQueueProgram, lambda port: python("-m", MANAGE, "runserver", str(port), "--nothreading")))


def test_django_runserver_with_threads(start_program: Starts, passes: Passes) -> None:
    required("django")
    passes(start_program(ShortQueueProgram, lambda port: python("-m", MANAGE, "runserver", str(port))))


def test_django_shell(start_program: Callable[..., ScriptProgram], passes: Passes) -> None:
    required("django")
    code = "from tests.pools.script import main; main('threads')"
    passes(start_program(ScriptProgram, python("-m", MANAGE, "shell", "--no-imports", "--command", code)))
