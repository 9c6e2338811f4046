"""`python -m predictd`: the same as the command `predictd`. Main thread."""

from __future__ import annotations

from predictd.cli.commands import main

if __name__ == "__main__":
    main(prog_name="predictd")
