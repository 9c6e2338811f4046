"""Writes the tables of settings into README.md and the pages of docs/, so that they can't differ from the code.

Run it with `python scripts/settings_table.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from predictd_server.class_entries import CLASS_FIELDS
from predictd_server.models.fields import MODEL_FIELDS
from predictd_server.setting import Form, Setting
from predictd_server.settings import SETTINGS

CHECKOUT = Path(__file__).parents[1]
#: What each table describes, by the page and the word that marks its place there.
TABLES = {
    ("README.md", "settings"): SETTINGS,
    ("docs/models.md", "fields"): MODEL_FIELDS,
    ("docs/batching.md", "classes"): CLASS_FIELDS,
}
UNITS = {"_ms": "ms", "_s": "s", "_bytes": "bytes", "_rows": "rows", "_size": "rows", "_threads": "threads"}


def unit(setting: Setting) -> str:
    """Return a setting's unit, which its name ends with."""
    return next((text for ending, text in UNITS.items() if setting.name.endswith(ending)), "")


def default(setting: Setting) -> str:
    """Return a setting's default; nothing where its help says what happens without it."""
    if setting.default is None or setting.form is not Form.ONE:
        return ""
    return str(setting.default).lower() if setting.kind is bool else f"{setting.default}"


def table(settings: Iterable[Setting]) -> str:
    """Return the table in Markdown."""
    lines = ["| setting | unit | default | what it does |", "|---|---|---|---|"]
    for setting in settings:
        choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
        lines.append(f"| `{setting.name}` | {unit(setting)} | {default(setting)} | {setting.help}{choices} |")
    return "\n".join(lines)


def with_tables(page: str, text: str) -> str:
    """Return a page's text with its tables in their places."""
    for (name, word), settings in TABLES.items():
        if name == page:
            begin, end = f"<!-- {word}: tests/docs compares this table with the code -->", f"<!-- /{word} -->"
            before, rest = text.split(begin)
            text = f"{before}{begin}\n\n{table(settings)}\n\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    for page in dict.fromkeys(name for name, _ in TABLES):
        path = CHECKOUT / page
        path.write_text(with_tables(page, path.read_text()))
