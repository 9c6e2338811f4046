"""docs/performance.md: its tables are written from docs/performance.json, the text around them by hand.

Run `python -m benchmarks.report.page` after editing the JSON or the tables' form; `make bench ARGS=--page` measures and
writes both.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.page_block import with_block
from benchmarks.report.report import Report, markdown, report_from_json

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "performance.md"
DATA = DOCS / "performance.json"

BEGIN = "<!-- tables: written by benchmarks/report/page.py from performance.json -->"
END = "<!-- /tables -->"


def with_tables(text: str, report: Report) -> str:
    """Return a page's text with the report's tables in their place."""
    return with_block(text, BEGIN, END, markdown(report))


def stored() -> Report:
    """Return the report that the page shows; an empty one where there is none yet."""
    return report_from_json(DATA.read_text()) if DATA.exists() else Report()


def write(report: Report) -> None:
    """Write a report into the page and its JSON."""
    DATA.write_text(report.as_json())
    # As it was stored, where values have fewer digits: the page must be what its JSON gives.
    PAGE.write_text(with_tables(PAGE.read_text(), stored()))


if __name__ == "__main__":
    write(stored())
