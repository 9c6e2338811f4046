"""What the commands print for people.

Owns the looks of predictions and status on a terminal; models are `model_texts.py`'s. It prints nothing itself. Any
thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import click
import numpy as np

from predictd.cli.model_texts import models_text
from predictd.prediction import Prediction, describe
from predictd_proto.messages import Receipt
from predictd_proto.printable import printable
from predictd_proto.quantities import bytes_text, count_text, seconds_text
from predictd_proto.status import ServerStatus

_COLOURS = {"ready": "green", "starting": "yellow", "draining": "yellow"}

#: Names of tasks that are shown; `--json` has them all.
MOST_TASKS = 5

_bold = partial(click.style, bold=True)


def prediction_text(answer: Prediction, *, shows_outputs: bool) -> str:
    """Return a prediction as text."""
    lines = list(_output_lines(answer.outputs, "")) if shows_outputs else []
    receipt = answer.receipt
    lines.append(
        click.style(
            f"{receipt.model} version {receipt.version}: {describe(answer.outputs)} in {receipt.server_ms:.2f} ms "
            f"(queue {receipt.queue_ms:.2f}, run {receipt.execute_ms:.2f}; {_batch_text(receipt)})",
            dim=True,
        )
    )
    return "\n".join(lines)


def _batch_text(receipt: Receipt) -> str:
    if not receipt.batches:
        return "the answer was kept" if receipt.closed_by in ("cache", "joined") else "no batch"
    return f"batch of {receipt.batch_rows} rows" + (f" + {receipt.padding_rows}" if receipt.padding_rows else "")


def status_text(status: ServerStatus, width: int) -> str:
    """Return a server's status as text, its models in lines of a width."""
    responsive = "responsive" if status.responsive else click.style("not responsive", fg="red", bold=True)
    state = click.style(status.state, fg=_COLOURS.get(status.state), bold=True)
    last = "nothing ran yet" if status.last_run_age_ms is None else f"{seconds_text(status.last_run_age_ms)} ago"
    running = f", running for {seconds_text(status.running_ms)}" if status.running_ms else ""
    waits = f", the oldest for {seconds_text(status.oldest_queued_ms)}" if status.queued_requests else ""
    facts = [
        ["State", f"{state}, alive, {responsive}"],
        ["Endpoint", status.endpoint],
        ["Server", f"predictd {status.server}, protocol {status.protocol}, pid {status.pid}"],
        ["Up for", _long_text(status.uptime_s)],
        ["Memory", bytes_text(status.rss_bytes)],
        ["Queue", f"{status.queued_rows} rows in {status.queued_requests} requests{waits}"],
        ["Last batch", f"{last}{running}"],
    ]
    label_width = max(len(name) for name, _ in facts)
    lines = [f"{_bold(name.ljust(label_width))}  {value}" for name, value in facts]
    counted = {name: count for name, count in status.counters.items() if count}
    if counted:
        totals = ", ".join(f"{name.removesuffix('_total')} {count_text(count)}" for name, count in counted.items())
        lines.append(f"{_bold('Totals'.ljust(label_width))}  {totals}")
    asked = _tasks_text(status)
    if asked:
        lines.append(f"{_bold('Tasks'.ljust(label_width))}  {asked}")
    return "\n".join([*lines, "", models_text(status.models, width)])


def _tasks_text(status: ServerStatus) -> str:
    """Return how many requests came for which tasks, most first."""
    names: Mapping[str, Mapping[str, int]] = status.tasks.get("names", {})
    ordered = sorted(names, key=lambda name: names[name]["requests"], reverse=True)
    texts = [f"{printable(name)} {count_text(names[name]['requests'])}" for name in ordered[:MOST_TASKS]]
    if len(ordered) > MOST_TASKS:
        texts.append(f"{len(ordered) - MOST_TASKS} others")
    return ", ".join(texts)


def _long_text(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d" if days else "", f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    return " ".join([*[part for part in parts if part], f"{rest} s"])


def _output_lines(outputs: Any, name: str) -> list[str]:
    if isinstance(outputs, dict):
        return [line for key, item in outputs.items() for line in _output_lines(item, f"{name}{key}")]
    if isinstance(outputs, list):
        return [line for position, item in enumerate(outputs) for line in _output_lines(item, f"{name}[{position}]")]
    text = np.array2string(outputs, precision=6, suppress_small=True, threshold=200, separator=" ")
    return [f"{_bold(name)}:", text] if name else [text]
