"""`python -m benchmarks.scale_out`: writes the tables of docs/scale-out.md; with `--measure` it measures anew before.

Main thread.
"""

from __future__ import annotations

import sys

from benchmarks.scale_out.costs import Costs
from benchmarks.scale_out.page import PAGE, with_tables


def main() -> None:
    """Write the page."""
    if "--measure" in sys.argv[1:]:
        from benchmarks.scale_out.measure import measured

        measured().write()
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), Costs.read()), encoding="utf-8")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
