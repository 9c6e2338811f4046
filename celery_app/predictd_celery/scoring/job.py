"""One run of bulk scoring in its folder: what is done already, what is left, and what comes out.

Owns the order in which the folder's files appear: the manifest, the chunks, the outputs, the manifest again; then the
chunks go. Killed between any two of these, the same run goes on from there. The caller's thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from predictd.rows.progress import ProgressBar
from predictd_celery.scoring.answers import Answers
from predictd_celery.scoring.chunk_work import ChunkWork
from predictd_celery.scoring.folder import Folder
from predictd_celery.scoring.formats.spans import Limits, digest_of_file
from predictd_celery.scoring.inputs import InputFile
from predictd_celery.scoring.joining import Survey, survey, write_output
from predictd_celery.scoring.manifest import Output, about, check_same, outputs_of, with_outputs
from predictd_celery.scoring.questions import Question
from predictd_celery.scoring.stamps import changed_file
from predictd_celery.scoring.window import Lane, Window
from predictd_proto.errors import PredictdError, ScoreError


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """What a run came to.

    Attributes:
        folder: Where the outputs are.
        outputs: The outputs' names, in the order of the inputs.
        rows: Rows that were read, bad ones too.
        bad_rows: Rows that were left out, or are null.
        chunks: Chunks in all.
        kept_chunks: Those that an earlier run had done.
        version: The model's version.
    """

    folder: Path
    outputs: tuple[str, ...]
    rows: int
    bad_rows: int
    chunks: int
    kept_chunks: int
    version: int


class ScoringLane(Lane[ChunkWork, Any], Protocol):
    """A lane that also knows the model."""

    def question(self, model: str, version: int | str | None, signature: str | None, on_error: str) -> Question:
        """Return what is asked of a model for each chunk."""
        ...

    def settle(self, question: Question) -> None:
        """Check what is not yet known to be the answers of the run's model; called when nothing is under way."""
        ...

    def abandon(self) -> None:
        """Wait for nothing more; what is not known to be the answers of the run's model is not kept."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Job:
    """One run.

    Args:
        folder: The output folder, which is locked.
        question: What is asked for each chunk.
        files: The inputs.
        limits: How they were cut.
    """

    def __init__(self, folder: Folder, question: Question, files: Sequence[InputFile], limits: Limits) -> None:
        self._folder, self._question, self._files = folder, question, files
        self._about = about(question, files, limits)
        self._works = {file.output: self._works_of(file) for file in files}
        self._outputs: dict[str, Output] = {}

    def run(
        self,
        lane: ScoringLane,
        window: int,
        progress: str | int,
        is_stopping: Callable[[], bool],
        *,
        is_change_fine: bool,
    ) -> ScoreReport:
        """Score what is not done, and write the outputs that are not there.

        Raises:
            ScoreError: The folder holds another run, an input has changed, or the run was stopped.
        """
        before = self._folder.manifest()
        if before is not None:
            check_same(before, self._about, is_change_fine=is_change_fine)
            self._outputs = self._still_good(outputs_of(before))
        left = [file for file in self._files if file.output not in self._outputs]
        kept = self._chunks
        if left:
            self._folder.chunks.mkdir(exist_ok=True)
            self._write_manifest(is_complete=False)
            works = [work for file in left for work in self._works[file.output]]
            todo = [work for work in works if work.answers() is None]
            kept -= len(todo)
            self._score(todo, lane, window, progress, is_stopping)
            self._join(left)
        self._write_manifest(is_complete=True)
        self._folder.forget_chunks()
        return self._report(kept)

    @property
    def _chunks(self) -> int:
        return sum(map(len, self._works.values()))

    @property
    def _rows(self) -> int:
        return sum(file.rows for file in self._files)

    def _works_of(self, file: InputFile) -> list[ChunkWork]:
        keys = [(span, self._question.key_of(file.scan.sha256, span)) for span in file.scan.spans]
        return [
            ChunkWork(self._question, file.source, file.kind, span, key, str(self._folder.chunk_path(key)))
            for span, key in keys
        ]

    def _still_good(self, outputs: dict[str, Output]) -> dict[str, Output]:
        """Return those outputs that need not be made again: the input's content is the same, and so is theirs.

        The output of an input that is no longer asked for stays where it is, and is listed.
        """
        digests = {file.output: (file.name, file.scan.sha256) for file in self._files}
        found = {}
        for name, one in outputs.items():
            path = self._folder.path / name
            is_asked = name in digests
            is_same = not is_asked or digests[name] == (one.source, one.source_sha256)
            if is_same and path.is_file() and (not is_asked or digest_of_file(path)[0] == one.sha256):
                found[name] = one
        return found

    def _score(
        self,
        todo: list[ChunkWork],
        lane: ScoringLane,
        window: int,
        progress: str | int,
        is_stopping: Callable[[], bool],
    ) -> None:
        left, done_rows = len(todo), self._rows - sum(work.span.rows for work in todo)
        bar = ProgressBar(self._rows, progress, stream=sys.stderr)
        bar.reach(done_rows)
        try:
            for work in Window(lane, window).run(todo, is_stopping):
                left -= 1
                done_rows += work.span.rows
                bar.reach(done_rows)
        except Exception:
            # Why it ended says more than either of these.
            with suppress(PredictdError):
                self._settle(lane)
            self._forget_changed()
            raise
        except BaseException:
            lane.abandon()
            raise
        finally:
            bar.close()
        changed = self._forget_changed()
        self._settle(lane)
        if changed:
            message = (
                f"{changed[0]} was changed while it was scored, and what was done of it is not kept; run the same "
                "again with --rescore-changed"
            )
            raise ScoreError(message)
        if left:
            message = (
                f"stopped: {self._chunks - left} of {self._chunks} chunks are done and kept; the same again goes on"
            )
            raise ScoreError(message)

    def _settle(self, lane: ScoringLane) -> None:
        """Keep what is known to be the answers of the run's model, and only that."""
        try:
            lane.settle(self._question)
        except BaseException:
            lane.abandon()
            raise

    def _forget_changed(self) -> list[Path]:
        """Delete the chunks of inputs whose files are not what they were when their digest was taken.

        A chunk is read long after that, and some rows may be new ones.
        """
        found = []
        for file in self._files:
            path = changed_file(file.source, file.stamps)
            if path is not None and file.output not in self._outputs:
                found.append(path)
                for work in self._works[file.output]:
                    Path(work.path).unlink(missing_ok=True)
        return found

    def _join(self, files: Sequence[InputFile]) -> None:
        surveys = [survey(file, self._question, self._passes(file)) for file in files]
        for file, found in zip(files, surveys, strict=True):
            if not found.shapes:
                self._write_manifest(is_complete=False, bad=[str(one) for found in surveys for one in found.bad])
                message = (
                    f"{file.name}: not one of its {file.rows} rows could be scored, and the model does not say how "
                    "wide its answers are; the manifest lists why. Mend the file, leave it out, or let --on-error be "
                    "skip"
                )
                raise ScoreError(message)
        for file, found in zip(files, surveys, strict=True):
            self._outputs[file.output] = self._written(file, found)

    def _written(self, file: InputFile, found: Survey) -> Output:
        write_output(self._folder.path, file, self._question, self._passes(file), found)
        digest, byte_count = digest_of_file(self._folder.path / file.output)
        return Output(file.name, file.scan.sha256, digest, byte_count, found.rows, tuple(map(str, found.bad)))

    def _passes(self, file: InputFile) -> Callable[[], Iterator[tuple[Answers, tuple[str, ...]]]]:
        return lambda: ((_answers(work), work.span.members) for work in self._works[file.output])

    def _write_manifest(self, *, is_complete: bool, bad: Sequence[str] = ()) -> None:
        manifest = with_outputs(self._about, self._outputs, is_complete=is_complete, bad=bad)
        self._folder.write_manifest(manifest)

    def _report(self, kept: int) -> ScoreReport:
        names = tuple(file.output for file in self._files)
        bad = sum(len(self._outputs[name].bad) for name in names)
        return ScoreReport(self._folder.path, names, self._rows, bad, self._chunks, kept, self._question.version)


def _answers(work: ChunkWork) -> Answers:
    answers = work.answers()
    if answers is None:
        Path(work.path).unlink(missing_ok=True)
        message = f"{work.path}: a chunk's answers are not as they were written (a bad disk?); the same again scores it"
        raise ScoreError(message)
    return answers
