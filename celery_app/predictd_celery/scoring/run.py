"""Bulk scoring as programs call it: `predictd_celery.score`.

Owns what a caller may say, and what is looked at before anything is read: lock, model, names. The caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import predictd
from predictd_celery.scoring.folder import Folder
from predictd_celery.scoring.formats.spans import HEADERS, Limits
from predictd_celery.scoring.inputs import input_file, input_sources
from predictd_celery.scoring.job import Job, ScoreReport, ScoringLane
from predictd_celery.scoring.lanes import LocalLane
from predictd_celery.scoring.manifest import names_of
from predictd_celery.scoring.targets import check_targets
from predictd_proto.errors import ConfigError

DEFAULT_CHUNK_ROWS = 1024
#: As claims and brokers like them; far below what the daemon takes in one request.
DEFAULT_CHUNK_BYTES = 4 << 20
DEFAULT_WINDOW = 8


def score(  # noqa: PLR0913  (what a caller may want to say)
    model: str,
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    version: int | str | None = None,
    signature: str | None = None,
    on_error: str = "stop",
    client: predictd.Client | None = None,
    app: Any = None,
    shared_folder: bool = False,
    chunk_rows: int = DEFAULT_CHUNK_ROWS,
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    window: int = DEFAULT_WINDOW,
    header: str = "auto",
    rescore_changed: bool = False,
    progress: str | int = "auto",
    is_stopping: Callable[[], bool] = lambda: False,
) -> ScoreReport:
    """Score files: one output row for each input row, in order, in files of the same kinds.

    What is done stays done: after an error, a crash or a stop the same call goes on where it was.

    Args:
        model: The model's name.
        inputs: Files (.csv, .jsonl, .npy, .npz, .parquet) and folders of images.
        output: The folder for outputs and manifest.
        version: A version number, a label, or None for the latest.
        signature: The signature's name; None for the model's default.
        on_error: What becomes of a row that can't be read, or that the model fails on: "stop", "skip" leaves it out,
            "null" writes a row without a value. The manifest lists them.
        client: Asks the daemon from here, without Celery; None for one with default settings.
        app: A Celery app: its workers ask their daemons. It has the tasks of `predictd_celery.scoring.chunk_task`.
        shared_folder: The workers see inputs and output folder under the same paths, and read and write there
            themselves. Without it rows and answers travel in messages, or by the app's claim store.
        chunk_rows: Rows in a chunk at most.
        chunk_bytes: Bytes in a chunk at most, as they lie in the file and as the model gets them.
        window: Chunks under way at once.
        header: Whether the first line of .csv files is a header: "yes", "no", or "auto": it has a name in it and no
            number. The manifest says which.
        rescore_changed: Where inputs have changed since the folder's run began, score these anew.
        progress: As Keras' `verbose`: 0 for none; "auto" for a bar where somebody watches.
        is_stopping: Asked before each chunk, and while nothing is heard of workers; True ends the run when what is
            under way is done.

    Raises:
        ScoreError: A row is bad, the folder is in use or holds something else, or the run was stopped.
        ConfigError: An argument is wrong.
        PredictdError: The model could not be asked, or failed.
    """
    for name, value in (("chunk_rows", chunk_rows), ("chunk_bytes", chunk_bytes), ("window", window)):
        if type(value) is not int or value < 1:
            message = f"{name}: expected a whole number from 1 on, got {value!r}"
            raise ConfigError(message)
    if header not in HEADERS:
        message = f"header={header!r}: expected one of {', '.join(HEADERS)}"
        raise ConfigError(message)
    if shared_folder and app is None:
        message = "shared_folder: without Celery there are no workers to share a folder with"
        raise ConfigError(message)
    folder = Folder(output)
    paths = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    with folder.locked(), closing(_lane(client, app, window, is_stopping, shared_folder=shared_folder)) as lane:
        question = lane.question(model, version, signature, on_error)
        sources = input_sources(paths, len(question.outputs), folder.chunks)
        check_targets(folder.path, sources, names_of(folder.manifest()), ignores_case=folder.ignores_case)
        # A photograph of 50 kB is one of 600 kB to the model.
        limits = Limits(max(1, min(chunk_rows, chunk_bytes // max(question.row_bytes, 1))), chunk_bytes, header)
        job = Job(folder, question, [input_file(source, limits) for source in sources], limits)
        return job.run(lane, window, progress, is_stopping, is_change_fine=rescore_changed)


def _lane(
    client: predictd.Client | None, app: Any, window: int, is_stopping: Callable[[], bool], *, shared_folder: bool
) -> ScoringLane:
    if app is None:
        return LocalLane(client or predictd.Client(), window)
    from predictd_celery.scoring.celery_lane import CeleryLane

    return CeleryLane(app, shared_folder=shared_folder, is_stopping=is_stopping)
