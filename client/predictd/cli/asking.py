"""What all commands that ask a server have in common: whom they ask, for how long, and how they fail.

Owns these options, the exit codes and the look of errors. Main thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from predictd.client import Client
from predictd.deadline import check_timeout_ms
from predictd_proto.errors import (
    ConfigError,
    DeadlineExceededError,
    ModelNotReadyError,
    OverloadedError,
    PredictdError,
    ServerDrainingError,
    TransportError,
)

#: Exit codes: click itself uses 2 for usage.
FAILED, USAGE, NOT_READY, UNREACHABLE, TIMED_OUT = 1, 2, 3, 4, 5

_EXIT_CODES: tuple[tuple[type[PredictdError], int], ...] = (
    (ConfigError, USAGE),
    (ModelNotReadyError, NOT_READY),
    (OverloadedError, NOT_READY),
    (ServerDrainingError, NOT_READY),
    (TransportError, UNREACHABLE),
    (DeadlineExceededError, TIMED_OUT),
)

EPILOG = """\b
Exit codes:
  0  done; for status: ready
  1  the request failed (the text on standard error says why)
  2  wrong usage or settings
  3  the server or the model is not ready, or the queue is full: try again
  4  nobody answers at the endpoint, or the server went away
  5  no answer in time
"""

#: For a person who waits: shorter than a program's.
CONNECT_TIMEOUT_MS = 2_000.0


def endpoint_options(command: Callable[..., Any], timeout_ms: float = 30_000.0) -> Callable[..., Any]:
    """Add the options that say whom to ask, and for how long."""
    command = click.option(
        "--timeout-ms", type=float, default=timeout_ms, show_default=True, metavar="N", help="What the call may take."
    )(command)
    return click.option(
        "--endpoint",
        "endpoints",
        metavar="URL",
        multiple=True,
        help="ipc:///absolute/path or tcp://host:port; several with commas or by repeating it.  "
        "[default: $PREDICTD_ENDPOINT, else your own socket]",
    )(command)


def readable_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """End a command's errors as one line on standard error and an exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except PredictdError as error:
            click.echo(f"{click.style('predictd:', fg='red', bold=True)} {error.message}", err=True)
            sys.exit(exit_code(error))

    return run


def exit_code(error: PredictdError) -> int:
    """Return the exit code that stands for an error."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), FAILED)


def client_for(endpoints: tuple[str, ...], timeout_ms: float) -> Client:
    """Return a client for what a command line says.

    Raises:
        ConfigError: A value is wrong.
    """
    check_timeout_ms("--timeout-ms", timeout_ms)
    given = ",".join(endpoints) if endpoints else None
    return Client(given, timeout_ms=timeout_ms, connect_timeout_ms=min(CONNECT_TIMEOUT_MS, timeout_ms))
