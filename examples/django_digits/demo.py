"""`make demo-django`: train, serve, a prefork worker and the site, until Ctrl-C.

Owns the order of events and what is printed. Ends every process that it started, whatever ends it. Main thread.

    python -m examples.django_digits.demo [--port 8000] [--server gunicorn|runserver]
"""

from __future__ import annotations

import argparse
import http.client
import os
import secrets
import socket
import sys
import time

from rich.console import Console

from examples.digits.failure import failing_politely
from examples.digits.processes import (
    READY_TIMEOUT_S,
    caller,
    queue_of,
    start_predictd,
    train,
    wait_for_predictd,
    wait_for_worker,
)
from examples.digits.progress import Steps
from examples.digits.stage import Stage, StageError
from examples.digits.versions import installed

HOST = "127.0.0.1"
PROJECT = "examples.django_digits"
EPOCHS = 15
POLL_S = 0.5
WORKER = "worker"
#: What a developer may have exported for a site of theirs. Celery puts CELERY_BROKER_URL before any setting.
FOREIGN = ("CELERY_", "DJANGO_", "GUNICORN_")
SERVERS = {
    "gunicorn": (
        *("gunicorn", f"{PROJECT}.wsgi", "--preload", "--workers", "2", "--threads", "4", "--no-control-socket"),
        *("--bind", "{address}"),
    ),
    "runserver": (f"{PROJECT}.manage", "runserver", "--noreload", "{address}"),
}


def main() -> int | str | None:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="make demo-django ARGS=...", description="Draw digits on a Django page.")
    parser.add_argument("--port", type=int, default=8000, help="where the page is (default: %(default)s)")
    parser.add_argument("--server", choices=SERVERS, default="gunicorn", help="default: %(default)s")
    # Long enough to draw a digit and read what the page says.
    told = "how long predictd stays away where it has ended (default: %(default)g)"
    parser.add_argument("--away-s", type=float, default=10, help=told)
    options = parser.parse_args()
    if problem := problem_with(options.port):
        # Before half a minute of training.
        parser.exit(2, f"make demo-django: {problem}\n")
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    console = Console(highlight=False)
    with Stage() as stage, failing_politely(console, stage) as outcome:
        console.print("\n[bold]Draw a digit[/]: Django, Celery, Redis, Keras, and predictd between the last two.\n")
        _play(console, stage, options.server, f"{HOST}:{options.port}")
        _keep_up(console, stage, options.server, options.away_s)
    return outcome.exit_code


def problem_with(port: int) -> str | None:
    """Return why the demo can't run, in words for whoever started it; None where it can."""
    if not 0 < port < 1 << 16:
        return f"--port {port}: expected 1 to 65535"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return f"port {port} can't be had ({error.strerror}); name another one: make demo-django ARGS='--port 8123'"
    return None


def _play(console: Console, stage: Stage, server: str, address: str) -> None:
    steps = Steps(console)
    caller(stage.start_broker())
    stage.environ["DJANGO_SECRET_KEY"] = secrets.token_urlsafe(50)
    stage.environ["DJANGO_QUEUE"] = queue_of(stage, WORKER)
    with steps.step("training a small CNN", f"a CNN for scanned and drawn digits ({installed()})", EPOCHS) as step:
        train(stage, step.reach, f"{PROJECT}.train")
    with steps.step("starting predictd", "predictd, which owns it"):
        start_predictd(stage)
        wait_for_predictd(stage)
    with steps.step("starting a worker", "a prefork worker with two children"):
        worker = ("celery", "-A", PROJECT, "worker", "--concurrency", "2", "--loglevel", "info")
        stage.start_python(WORKER, *worker, "--without-mingle", "--without-gossip", "--without-heartbeat")
        wait_for_worker(stage, WORKER)
    with steps.step(f"starting {server}", f"the site, under {server}"):
        stage.start_python(server, *(part.format(address=address) for part in SERVERS[server]))
        stage.wait_for(server, lambda: _answers(address), "answering", timeout_s=READY_TIMEOUT_S)
    console.print(f"\n   [bold green]http://{address}/[/]\n", soft_wrap=True)
    console.print(" Ctrl-C ends everything.")


def _keep_up(console: Console, stage: Stage, server: str, away_s: float) -> None:
    """Start predictd again where it ends, as a supervisor does; the page tells what it was like meanwhile."""
    while True:
        console.print(f" [dim]To see what the page says without a model: kill -9 {stage.pid('predictd')}[/]")
        while not stage.has_ended("predictd"):
            for name in (WORKER, server):
                if stage.has_ended(name):
                    message = f"{name} has ended"
                    raise StageError(message, name)
            time.sleep(POLL_S)
        console.print(f" [yellow]predictd has ended; it is started again in {away_s:g} s[/]")
        time.sleep(away_s)
        start_predictd(stage)
        wait_for_predictd(stage)
        console.print(" [green]predictd is back[/]")


def _answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
