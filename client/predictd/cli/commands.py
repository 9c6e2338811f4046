"""The `predictd` command: what a person or a script asks a server from a shell.

Owns the commands predict, golden, models and status, and the way other packages add theirs. It prints; asking is the
client's. Errors end as one readable line on standard error and an exit code, never as a traceback. Main thread.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from typing import Any

import click

from predictd.cli.asking import EPILOG, NOT_READY, client_for, endpoint_options, exit_code, readable_errors
from predictd.cli.files import check_output, read_inputs, to_plain, write_outputs
from predictd.cli.golden import check_golden_output, golden_samples
from predictd.cli.group import CommandGroup
from predictd.cli.model_texts import model_text, models_text
from predictd.cli.order_commands import ORDER_COMMANDS
from predictd.cli.texts import prediction_text, status_text
from predictd.client import Client
from predictd.deadline import check_timeout_s
from predictd_proto.errors import (
    DeadlineExceededError,
    ModelNotReadyError,
    PredictdError,
)
from predictd_proto.plain import to_plain as message_to_plain
from predictd_proto.status import ServerStatus


def _version_of(text: str | None) -> int | str | None:
    return int(text) if text and text.isdecimal() else text


def _width() -> int:
    return shutil.get_terminal_size().columns


def _print_version(context: click.Context, parameter: click.Parameter, is_given: bool) -> None:
    del parameter
    if is_given and not context.resilient_parsing:
        import predictd

        click.echo(f"predictd {predictd.__version__}")
        context.exit()


@click.group(
    cls=CommandGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print it.")
def main() -> None:
    """One process owns the Keras graph, everybody asks it.

    `predictd serve model.keras` in one terminal, `predictd predict model rows.npy` in another.
    """


@main.command(epilog=EPILOG)
@click.argument("model")
@click.argument("source", default="-", metavar="[INPUT]")
@endpoint_options
@click.option("--output", metavar="FILE", default=None, help="Write the outputs to a .npy, .npz or .json file.")
@click.option("--version", "model_version", metavar="V", default=None, help="A version number or a label.")
@click.option("--signature", metavar="NAME", default=None, help="Another signature than the model's default.")
@click.option("--json", "as_json", is_flag=True, help="Print outputs and receipt as JSON.")
@readable_errors
def predict(
    model: str,
    source: str,
    endpoints: tuple[str, ...],
    timeout_ms: float,
    output: str | None,
    model_version: str | None,
    signature: str | None,
    as_json: bool,
) -> None:
    """Run MODEL on the rows in INPUT and print the outputs.

    INPUT is a .npy file, a .npz or .json file (for several inputs, by name), or - for standard input, JSON or .npy.
    Numbers are cast to the model's dtypes.
    """
    if output is not None:
        check_output(output)
    inputs = read_inputs(source)
    with client_for(endpoints, timeout_ms) as client:
        answer = client.predict(model, inputs, version=_version_of(model_version), signature=signature, cast=True)
    if output is not None:
        write_outputs(output, answer.outputs)
    if as_json:
        receipt = message_to_plain(answer.receipt)
        printed = {"receipt": receipt} if output else {"outputs": to_plain(answer.outputs), "receipt": receipt}
        click.echo(json.dumps(printed))
    else:
        click.echo(prediction_text(answer, shows_outputs=output is None))


@main.command(epilog=EPILOG)
@click.argument("model")
@click.argument("source", default="-", metavar="[INPUT]")
@endpoint_options
@click.option("--output", metavar="FILE", default="golden.npz", show_default=True, help="Where to write them.")
@click.option("--version", "model_version", metavar="V", default=None, help="A version number or a label.")
@click.option("--signature", metavar="NAME", default=None, help="Another signature than the model's default.")
@readable_errors
def golden(
    model: str,
    source: str,
    endpoints: tuple[str, ...],
    timeout_ms: float,
    output: str,
    model_version: str | None,
    signature: str | None,
) -> None:
    """Write golden samples: the rows in INPUT with MODEL's answers to them.

    Put the file beside another version of MODEL, and that version goes live only if it answers alike. INPUT is as for
    predict: a few telling rows.
    """
    check_golden_output(output)
    check_output(output)
    inputs = read_inputs(source)
    with client_for(endpoints, timeout_ms) as client:
        arrays, answer = golden_samples(client, model, inputs, _version_of(model_version), signature)
    write_outputs(output, arrays)
    click.echo(f"{output}: {', '.join(arrays)}")
    click.echo(prediction_text(answer, shows_outputs=False))


@main.command(epilog=EPILOG)
@click.argument("model", required=False)
@endpoint_options
@click.option("--json", "as_json", is_flag=True, help="Print everything known of them as JSON.")
@readable_errors
def models(model: str | None, endpoints: tuple[str, ...], timeout_ms: float, as_json: bool) -> None:
    """List the models that are served, or tell all about the versions of MODEL."""
    with client_for(endpoints, timeout_ms) as client:
        found = client.models(model)
    if as_json:
        click.echo(json.dumps([message_to_plain(metadata) for metadata in found], indent=2))
    else:
        click.echo(models_text(found, _width()) if model is None else model_text(found, _width()))


@main.command(epilog=EPILOG)
@endpoint_options
@click.option("--json", "as_json", is_flag=True, help="Print everything known as JSON.")
@click.option("--wait", "wait_s", type=float, default=None, metavar="SECONDS", help="Wait until it is ready.")
@readable_errors
def status(endpoints: tuple[str, ...], timeout_ms: float, as_json: bool, wait_s: float | None) -> None:
    """Say how the server is: alive, responsive, ready.

    Ends with exit code 0 when it takes requests, so that scripts can wait for it: predictd status --wait 60

    Of several servers each is shown, and one that takes requests is enough: exit code 0 if there is one, else 3 if any
    of them answers, else that of the first.
    """
    if wait_s is not None:
        check_timeout_s("--wait", wait_s)
    with client_for(endpoints, timeout_ms) as client:
        if len(client.endpoints) > 1:
            sys.exit(_print_each(client, timeout_ms, as_json=as_json, wait_s=wait_s))
        found = _ready_status(client, wait_s) if wait_s is not None else client.status()
    click.echo(json.dumps(message_to_plain(found), indent=2) if as_json else status_text(found, _width()))
    sys.exit(0 if found.is_ready else NOT_READY)


def _print_each(client: Client, timeout_ms: float, *, as_json: bool, wait_s: float | None) -> int:
    """Print the status of each of several servers; return the exit code."""
    if wait_s is not None:
        with contextlib.suppress(PredictdError):  # each server's own text tells why
            client.wait_until_ready(wait_s)
    codes: list[int] = []
    plain: list[Any] = []
    for endpoint in client.endpoints:
        with client_for((endpoint,), timeout_ms) as one:
            try:
                found = one.status()
            except PredictdError as error:
                codes.append(exit_code(error))
                plain.append({"endpoint": endpoint, "error": {"code": error.code, "message": error.message}})
                text = f"{click.style(endpoint, bold=True)}\n{click.style(error.message, fg='red')}"
            else:
                codes.append(0 if found.is_ready else NOT_READY)
                plain.append(message_to_plain(found))
                text = status_text(found, _width())
        if not as_json:
            click.echo(f"{text}\n")
    if as_json:
        click.echo(json.dumps(plain, indent=2))
    return next((code for code in (0, NOT_READY) if code in codes), codes[0])


def _ready_status(client: Client, wait_s: float) -> ServerStatus:
    try:
        return client.wait_until_ready(wait_s)
    except (ModelNotReadyError, DeadlineExceededError) as error:
        # A wait of some milliseconds is over before anybody can have answered.
        try:
            return client.status()
        except PredictdError:
            raise error from None


for _command in ORDER_COMMANDS:
    main.add_command(_command)
