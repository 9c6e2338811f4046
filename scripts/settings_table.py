"""Writes the table of settings into README.md, so that it can't differ from the code.

Run it with `python scripts/settings_table.py`.
"""

from __future__ import annotations

from pathlib import Path

from predictd_server.setting import Setting
from predictd_server.settings import SETTINGS

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- settings: tests/docs compares this table with the code -->"
END = "<!-- /settings -->"
UNITS = {"_ms": "ms", "_s": "s", "_bytes": "bytes", "_rows": "rows", "_size": "rows", "_threads": "threads"}


def unit(setting: Setting) -> str:
    """Return a setting's unit, which its name ends with."""
    return next((text for ending, text in UNITS.items() if setting.name.endswith(ending)), "")


def table() -> str:
    """Return the table in Markdown."""
    lines = ["| setting | unit | default | what it does |", "|---|---|---|---|"]
    for setting in SETTINGS:
        default = str(setting.default).lower() if setting.kind is bool else f"{setting.default}"
        choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
        lines.append(f"| `{setting.name}` | {unit(setting)} | {default} | {setting.help}{choices} |")
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """Return the README with the table in its place."""
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
