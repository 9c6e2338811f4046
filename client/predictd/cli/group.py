"""The group of commands under `predictd`, those of other packages among them.

Owns how commands are found (entry points `predictd.commands`) and what is said where a part is not installed. Main
thread.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "predictd.commands"

#: Commands of our other packages: what they are, the extra that brings what they need, and one of which that is.
KNOWN_EXTRAS = {name: ("the server", "server", ("tensorflow", "jax", "torch")) for name in ("inspect", "serve", "tune")}

_MISSING_EXIT_CODE = 2


class CommandGroup(click.Group):
    """Our own commands, and those of other packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, those of parts that are not installed too: their help says what is missing."""
        return sorted({*super().list_commands(ctx), *_entry_points(), *KNOWN_EXTRAS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        if cmd_name in KNOWN_EXTRAS and not any(map(importlib.util.find_spec, KNOWN_EXTRAS[cmd_name][2])):
            return _missing(cmd_name)
        entry_point = _entry_points().get(cmd_name)
        if entry_point is None:
            return _missing(cmd_name) if cmd_name in KNOWN_EXTRAS else None
        try:
            loaded: Any = entry_point.load()
        except ImportError as error:
            return _missing(cmd_name, f"{entry_point.value} can't be imported: {error}")
        return loaded if isinstance(loaded, click.Command) else _missing(cmd_name, f"{entry_point.value} is no command")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a command line; a mistyped one gets the list of those there are."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            text = f"{error.message} There are: {', '.join(self.list_commands(ctx))}."
            raise click.UsageError(text, error.ctx) from None


@cache
def _entry_points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry_point.name: entry_point for entry_point in entry_points(group=ENTRY_POINTS)}


def _missing(name: str, reason: str = "") -> click.Command:
    what, extra, _ = KNOWN_EXTRAS.get(name, ("another package", "all", ()))
    text = f"predictd {name} needs {what}: pip install 'predictd[{extra}]'" + (f" ({reason})" if reason else "")

    def say() -> None:
        click.echo(text, err=True)
        sys.exit(_MISSING_EXIT_CODE)

    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    return click.Command(name, callback=say, help=f"Not installed: {text}.", context_settings=settings)
