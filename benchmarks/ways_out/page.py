"""docs/celery.md: its table of the ways out is written from docs/celery.json, the text around it by hand.

Run `python -m benchmarks.ways_out.page` after editing the JSON or the table's form; `make ways-out ARGS=--page`
measures and writes both.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.report.page_block import with_block
from benchmarks.ways_out.outcome import Outcomes, outcomes_from_json
from benchmarks.ways_out.table import table

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "celery.md"
DATA = DOCS / "celery.json"

BEGIN = "<!-- ways out: written by benchmarks/ways_out/page.py from celery.json -->"
END = "<!-- /ways out -->"


def with_table(text: str, outcomes: Outcomes) -> str:
    """Return a page's text with the table in its place."""
    return with_block(text, BEGIN, END, table(outcomes))


def stored() -> Outcomes:
    """Return what the page shows; nothing where there is none yet."""
    return outcomes_from_json(DATA.read_text()) if DATA.exists() else Outcomes()


def kept(measured: Iterable[str], machine: dict[str, str]) -> Outcomes:
    """Return what the page keeps beside ways that are measured anew on a machine: nothing of another one.

    Raises:
        ValueError: Rows of another machine would be lost for rows of this one that are not measured now.
    """
    before = stored()
    if before.machine == machine:
        return before
    lost = set(before.ways) - set(measured)
    if lost:
        old = before.machine
        changed = [f"{what} {old.get(what)}, here {one}" for what, one in machine.items() if old.get(what) != one]
        text = (
            f"{DATA.name} was measured elsewhere ({'; '.join(changed)}), and one table is of one machine: measure all "
            f"ways, or {', '.join(name for name in before.ways if name in lost)} too"
        )
        raise ValueError(text)
    return Outcomes(machine)


def write(outcomes: Outcomes) -> None:
    """Write outcomes into the page and its JSON."""
    DATA.write_text(outcomes.as_json())
    show()


def show() -> None:
    """Write the page's table from its JSON: what is stored has fewer digits than what was measured."""
    PAGE.write_text(with_table(PAGE.read_text(), stored()))


if __name__ == "__main__":
    show()
