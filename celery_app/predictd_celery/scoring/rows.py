"""The rows of one chunk, as a format read them and as a model gets them.

Owns `Rows` and `BadRow`. It reads nothing. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be read, or that the model failed on.

    Attributes:
        row: Its number within the chunk, from 0.
        where: File and line, as a person looks for it.
        why: What is wrong with it.
    """

    row: int
    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(frozen=True, slots=True)
class Rows:
    """What was read of a chunk.

    Attributes:
        count: Rows in the chunk, bad ones too.
        arrays: The good rows by the model's input names; axis 0 counts them, in order.
        bad: The bad rows, in order.
        where: What the row numbers of this chunk count from, for messages: "a.csv, row 17".
    """

    count: int
    arrays: dict[str, NDArray[Any]]
    bad: tuple[BadRow, ...] = ()
    where: tuple[str, int] = ("", 0)

    @property
    def good(self) -> list[int]:
        """The numbers of the good rows within the chunk."""
        bad = {one.row for one in self.bad}
        return [row for row in range(self.count) if row not in bad]

    def place(self, row: int) -> str:
        """Return where a row of this chunk comes from."""
        name, first = self.where
        return f"{name}, row {first + row + 1}"
