"""Every way out that people tried, measured: `make ways-out`, the table of docs/celery.md.

A Keras model that was loaded before a worker's fork hangs in its children. Each way around that is a real `celery
worker` here, with a real Redis and a real Keras model, and has to show whether it answers, how fast, in how much
memory, whether a soft time limit reaches it, and what a crash of the model's process takes along.

    ways.py      what the ways are
    apps/        each way's Celery app, as people write it
    stand.py     one way's processes: Redis, workers, the daemon where there is one; their memory and their end
    answers.py   what Keras itself says, to compare with
    trials.py    what each way has to show
    outcome.py   what it showed; JSON
    table.py     the table, in words; page.py puts it into docs/celery.md
"""
