"""One chunk to be scored, and the three steps of it: read its rows, ask the model, write its answers.

Owns `ChunkWork`. Who does which step differs: with files that both sides see one process does all three; else the run
reads and writes, and a worker asks. Any thread, any process.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from predictd_celery.scoring.answers import Answers, Ask, answers_to
from predictd_celery.scoring.chunk_files import STATE, chunk_name, read_chunk, write_chunk
from predictd_celery.scoring.formats.kinds import KINDS
from predictd_celery.scoring.formats.spans import Source, Span
from predictd_celery.scoring.questions import Question
from predictd_celery.scoring.rows import Rows
from predictd_proto.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ChunkWork:
    """One chunk.

    Attributes:
        question: What is asked.
        source: The file.
        kind: What it is.
        span: Its place in there.
        key: What its answers are bound to.
        path: Where they go.
    """

    question: Question
    source: Source
    kind: str
    span: Span
    key: str
    path: str

    @property
    def place(self) -> str:
        """The rows that it is, for messages: "a.csv, rows 5 to 8"."""
        first = self.span.first_row + 1
        return f"{self.source.name}, rows {first} to {first + self.span.rows - 1}"

    def read(self) -> Rows:
        """Return its rows."""
        return KINDS[self.kind].read(self.source, self.span, self.question.specs)

    def write(self, answers: Answers, *, is_synced: bool = False) -> None:
        """Keep its answers; `is_synced` sees them on the disk."""
        write_chunk(Path(self.path), self.key, answers, is_synced=is_synced)

    def score(self, ask: Ask, *, is_synced: bool = False) -> None:
        """Do all of it."""
        self.write(answers_to(self.read(), self.question, ask), is_synced=is_synced)

    def answers(self) -> Answers | None:
        """Return its answers; None where it is not done, or the file is not as it was written."""
        answers = read_chunk(Path(self.path), self.key)
        return answers if answers is not None and answers.count == self.span.rows else None

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "question": self.question.to_fields(),
            "source": asdict(self.source),
            "kind": self.kind,
            "span": self.span.to_fields(),
            "key": self.key,
            "path": self.path,
        }

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> ChunkWork:
        """Return what `to_fields` was made of.

        Raises:
            ConfigError: Its path is no chunk's: whoever can enqueue tasks would write wherever a worker may.
        """
        path = Path(fields["path"])
        is_chunk = path.is_absolute() and (path.parent.name, path.name) == (STATE, chunk_name(fields["key"]))
        if not is_chunk or Path(fields["source"]["scratch"]) != path.parent:
            message = f"a chunk's path: expected /.../{STATE}/{chunk_name('KEY')}, got {fields['path']!r}"
            raise ConfigError(message)
        return cls(
            Question.from_fields(fields["question"]),
            Source(**fields["source"]),
            fields["kind"],
            Span.from_fields(fields["span"]),
            fields["key"],
            fields["path"],
        )
