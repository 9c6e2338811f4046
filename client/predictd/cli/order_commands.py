"""The commands load, unload, label and reload: what a person or a deployment script orders a server to serve.

Owns their words and what they print. Main thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from predictd.cli.asking import EPILOG, client_for, endpoint_options, readable_errors
from predictd.order_result import OrderResult
from predictd.routing.ordering import ORDER_TIMEOUT_MS
from predictd_proto.plain import to_plain

_order_options = partial(endpoint_options, timeout_ms=ORDER_TIMEOUT_MS)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print what was done and the versions as JSON.")


def _command(function: Callable[..., Any]) -> click.Command:
    return click.command(epilog=EPILOG)(_order_options(_json_option(readable_errors(function))))


@_command
@click.argument("model")
@click.argument("version", type=int, required=False)
def load(model: str, version: int | None, endpoints: tuple[str, ...], timeout_ms: float, as_json: bool) -> None:
    """Serve a VERSION of MODEL: the newest that is wanted, or the one given.

    The server loads, warms and checks it beside what it serves, and then lets go of what is not wanted any more. A
    version that failed is tried again; one whose files have changed is loaded anew. Without VERSION, what labels and
    the default name follows. Fails with the reason if it can't be loaded; then everything is served as before.
    """
    with client_for(endpoints, timeout_ms) as client:
        _print(client.load(model, version, timeout_ms=timeout_ms), as_json=as_json)


@_command
@click.argument("model")
@click.argument("version", type=int, required=False)
def unload(model: str, version: int | None, endpoints: tuple[str, ...], timeout_ms: float, as_json: bool) -> None:
    """Serve a VERSION of MODEL, or all of it, no longer.

    Requests that it has are finished first. Ends when its memory is given back, and says how much that is. It stays
    unloaded until `predictd load` or `predictd reload`.
    """
    with client_for(endpoints, timeout_ms) as client:
        _print(client.unload(model, version, timeout_ms=timeout_ms), as_json=as_json)


@_command
@click.argument("model")
@click.argument("label")
@click.argument("version", type=int, required=False)
@click.option("--remove", "is_removed", is_flag=True, help="Take the label away.")
def label(
    model: str,
    label: str,
    version: int | None,
    is_removed: bool,
    endpoints: tuple[str, ...],
    timeout_ms: float,
    as_json: bool,
) -> None:
    """Let LABEL of MODEL point at VERSION, which must be ready.

    As in `predictd label digits stable 3`. Clients name it in place of a version. Labels that are set so last until
    the server ends; those that should last longer belong into its configuration.
    """
    if (version is None) is not is_removed:
        text = "expected a VERSION for the label to point at, or --remove, and not both"
        raise click.UsageError(text)
    with client_for(endpoints, timeout_ms) as client:
        _print(client.label(model, label, version, timeout_ms=timeout_ms), as_json=as_json)


@_command
@click.argument("model", required=False)
def reload(model: str | None, endpoints: tuple[str, ...], timeout_ms: float, as_json: bool) -> None:
    """Look again at the files of MODEL, or of all models, and serve what the server's configuration wants.

    New versions and changed files are loaded, what failed is tried again, and what was loaded or unloaded by order is
    forgotten. Labels stay.
    """
    with client_for(endpoints, timeout_ms) as client:
        _print(client.reload(model, timeout_ms=timeout_ms), as_json=as_json)


def _print(result: OrderResult, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(to_plain(result), indent=2))
        return
    for text in result.done:
        click.echo(text)


ORDER_COMMANDS: tuple[click.Command, ...] = (load, unload, label, reload)
