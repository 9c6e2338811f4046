"""How models look on a terminal: one line per version in a list, or everything about some.

Owns the two layouts; what is said of a version is `predictd_proto.metadata_text`'s. It prints nothing itself. Any
thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby

import click

from predictd.tables import format_table
from predictd_proto.metadata import ModelMetadata
from predictd_proto.metadata_text import fact_lines, signature_text, title_of, wrapped
from predictd_proto.quantities import bytes_text, count_text

_COLOURS = {"ready": "green", "loading": "yellow", "unloading": "yellow", "failed": "red"}
_bold = partial(click.style, bold=True)
_HEADERS = ("MODEL", "VERSION", "STATE", "LABELS", "PARAMS", "MEMORY", "RUNS AS")
_RIGHT = ("PARAMS", "MEMORY")
_DEFAULT_MARK = "*"
_INDENT = "  "


def models_text(models: Sequence[ModelMetadata], width: int) -> str:
    """Return model versions as a table, with what each model takes and gives below its own.

    Args:
        models: The versions, those of one model next to each other.
        width: Columns of the terminal.
    """
    if not models:
        return "No models are served."
    has_choice = len({metadata.name for metadata in models}) < len(models)
    rows = [_row(metadata, has_choice) for metadata in models]
    kept = [index for index, header in enumerate(_HEADERS) if header != "LABELS" or any(row[index] for row in rows)]
    headers = [_HEADERS[index] for index in kept]
    table = format_table(
        headers,
        [[row[index] for index in kept] for row in rows],
        right=[header for header in headers if header in _RIGHT],
    ).splitlines()
    lines = [_bold(table[0])]
    for _, versions in groupby(zip(models, table[1:], strict=True), key=lambda pair: pair[0].name):
        lines += _model_lines(list(versions), width)
    if has_choice and any(metadata.is_default for metadata in models):
        lines += ["", click.style(f"{_DEFAULT_MARK} answers requests that name no version.", dim=True)]
    return "\n".join(lines)


def model_text(models: Sequence[ModelMetadata], width: int) -> str:
    """Return everything about some versions, one block for each.

    Args:
        models: The versions.
        width: Columns of the terminal.
    """
    return "\n\n".join("\n".join([_bold(title_of(metadata)), *_fact_lines(metadata, width)]) for metadata in models)


def _fact_lines(metadata: ModelMetadata, width: int) -> list[str]:
    state, *others = fact_lines(metadata, width)
    colour = _COLOURS.get(metadata.state)
    return [state.replace(metadata.state, click.style(metadata.state, fg=colour, bold=True), 1), *others]


def _row(metadata: ModelMetadata, has_choice: bool) -> list[str]:
    mark = f" {_DEFAULT_MARK}" if has_choice and metadata.is_default else ""
    return [
        metadata.name,
        f"{metadata.version}{mark}",
        metadata.state,
        ", ".join(metadata.labels),
        count_text(metadata.parameters),
        bytes_text(metadata.memory_bytes),
        metadata.runner or "-",
    ]


def _model_lines(versions: list[tuple[ModelMetadata, str]], width: int) -> list[str]:
    """Return the rows of one model; what its versions take and give, once where they agree; and what went wrong."""
    lines: list[str] = []
    for _, alike in groupby(versions, key=lambda pair: _call_text(pair[0])):
        same = list(alike)
        for metadata, row in same:
            colour = _COLOURS.get(metadata.state)
            # Only the state, between two blanks: a model may be called "ready".
            lines.append(row.replace(f" {metadata.state} ", f" {click.style(metadata.state, fg=colour)} ", 1))
            if metadata.error:
                lines += [click.style(line, fg="red") for line in wrapped(metadata.error, width, _INDENT, len(_INDENT))]
        call = _call_text(same[-1][0])
        if call:
            lines += [click.style(line, dim=True) for line in wrapped(call, width, _INDENT, 2 * len(_INDENT))]
    return lines


def _call_text(metadata: ModelMetadata) -> str:
    spec = metadata.signature()
    others = len(metadata.signatures) - 1
    more = f" (and {others} more signature{'s' * (others > 1)})" if others > 0 else ""
    return f"{signature_text(spec)}{more}" if spec else ""
