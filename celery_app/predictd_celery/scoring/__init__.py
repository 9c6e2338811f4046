"""Bulk scoring: files in, the same kinds of files out, one output row per input row.

    formats/         what each kind of file is: how it is cut into chunks, how rows are read, how outputs are written
    inputs.py        what was asked for: files and folders with their digests and chunks, and their outputs' names
    targets.py       what may stand in the way of the outputs
    stamps.py        what tells that an input has changed
    questions.py     what is asked of the model for every chunk, and what that makes of the run's identity
    rows.py          the rows of one chunk as a format read them, bad ones too
    answers.py       rows -> outputs, by whoever can ask a model
    chunk_work.py    one chunk, and the three steps of it: read, ask, write
    chunk_files.py   the answers of one chunk as a file, which appears whole or not at all
    folder.py        the output folder: its lock, its manifest, which chunks are done
    manifest.py      what is written of a run
    joining.py       the chunks' files -> the outputs
    window.py        how many chunks are under way
    lanes.py         where chunks are scored: in threads of this process
    threads.py       these threads
    celery_lane.py   likewise: by Celery's workers
    polled_tasks.py  how their tasks are sent, and their results found
    chunk_task.py    the tasks
    outage.py        a service that is away for a while
    job.py           one run in its folder
    run.py           `predictd_celery.score`
    cli.py           `predictd score`

Nothing but `celery_lane.py`, `polled_tasks.py` and `chunk_task.py` imports Celery: without a broker it is not needed.
"""
