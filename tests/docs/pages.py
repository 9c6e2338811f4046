"""Pages of documentation taken apart: their code blocks, the files that they show, and what those print.

A block whose first line is a comment with a file's name, such as `# tasks.py`, is that file. Owns no test.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import CHECKOUT

PAGES = sorted((CHECKOUT / "docs").glob("*.md"))
README = CHECKOUT / "README.md"

_FENCE = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^\1```[ ]*$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"(?:#|;|//) ([\w./-]+\.\w+)\b[^\n]*\n")


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        page: Where it stands.
        line: Number of its first line there.
        language: What it says it is.
        text: What it holds.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that it shows; None for none."""
        named = _FILE.match(self.text)
        return named[1] if named else None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line} ({self.file or self.language})"


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 2, match[2], _without_indent(match[3], match[1]))
        for match in _FENCE.finditer(text)
    ]


def write_files(blocks: list[Block], folder: Path) -> list[Path]:
    """Write the files that blocks show into a folder, and return them."""
    written = []
    for block in blocks:
        if block.file is not None and not Path(block.file).is_absolute():
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            written.append(path)
    return written


def output_of(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run what a page shows in its folder; return what it prints, or fail with all that it said."""
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def _without_indent(text: str, indent: str) -> str:
    return re.sub(f"^{indent}", "", text, flags=re.MULTILINE) if indent else text
