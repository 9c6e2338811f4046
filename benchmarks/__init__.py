"""Speed and memory, measured: `make bench`. Every figure is a ratio to a limit that the same run measured beside it.

    workloads.py, make_models.py   what is asked: models A to G and their rows
    loads/                         who asks: 1 to 256 callers, closed or open loop, through Celery
    limits/                        what can't be beaten: the model in process, a bare echo, memcpy
    processes/                     starting, ending, and reading processor time and memory
    sections/                      what is compared with what, in turns, round by round
    report/                        tables, JSON, plots, docs/performance.md

`sections/registry.py` lists the sections; `make bench ARGS="A B"` runs some of them.
"""
