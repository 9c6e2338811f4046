"""Writes the table of formats and kinds of models into docs/models.md, by saving, serving and comparing each.

Run it with `python scripts/models_table.py`, from the checkout; it takes some minutes. The tests compare the page with
what they observe, so a page that was not written anew fails them.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))


def main() -> None:
    """Observe every cell and write the page."""
    from predictd_server.tensorflow.runtime import RuntimeSettings, configure
    from tests.models import format_table
    from tests.models.loading_steps import equally_fast

    configure(RuntimeSettings())
    warnings.simplefilter("ignore")
    cells: dict[tuple[str, str], str] = {}
    with equally_fast(), tempfile.TemporaryDirectory() as directory:
        for number, column in enumerate(format_table.FORMATS):
            for kind in column.kinds:
                place = Path(directory) / f"{number}-{kind}"
                place.mkdir()
                cells[kind, column.title] = format_table.observe(column, kind, place)
                print(f"{column.title}, {kind}: {cells[kind, column.title]}", flush=True)
    before, rest = format_table.PAGE.read_text().split(format_table.BEGIN)
    after = rest.split(format_table.END)[1]
    table = format_table.table(cells)
    format_table.PAGE.write_text(f"{before}{format_table.BEGIN}\n\n{table}\n\n{format_table.END}{after}")


if __name__ == "__main__":
    main()
