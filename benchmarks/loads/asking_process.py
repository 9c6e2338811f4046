"""One way of asking: `python -m benchmarks.loads.asking_process WAY ENDPOINT IN_FLIGHT [gevent]`.

Prints one line of JSON for each line it reads (seconds to ask): answers, and the processor time of the whole process,
libzmq's threads included. The first line says that it is ready, or what is missing. With "gevent" it patches itself
before anything else is imported, as such programs do.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time

WARM_UP_S = 0.2


def main(way: str, endpoint: str, in_flight: str, *patch: str) -> None:
    """Ask whenever told to."""
    if patch:
        try:
            monkey = importlib.import_module("gevent.monkey")
        except ImportError:
            print(json.dumps({"missing": "gevent is not installed"}), flush=True)
            return
        monkey.patch_all()
    from benchmarks.loads.ways import WAYS

    run = WAYS[way](endpoint, int(in_flight))
    run(WARM_UP_S)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        started, used = time.perf_counter(), _cpu_s()
        answers = run(float(line))
        took, used = time.perf_counter() - started, _cpu_s() - used
        print(json.dumps({"cpu_us": used * 1e6 / answers, "per_second": answers / took}), flush=True)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(*sys.argv[1:])
