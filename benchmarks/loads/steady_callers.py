"""Steady load from a process of its own: `python -m benchmarks.loads.steady_callers ENDPOINT CALLERS PER_SECOND`.

Says `{"ready": true}` when all callers ask. For each line of JSON that it reads, a list of windows (two times of the
system's monotonic clock each), it answers with the milliseconds of the calls that were due within any of them, and how
many calls have failed so far. PER_SECOND is of all callers together; 0 lets each ask again as soon as it is answered.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import predictd
from benchmarks.loads.calls import ANSWER_TIMEOUT_MS
from benchmarks.workloads import A


class Caller:
    """One thread that asks on and on.

    Attributes:
        calls: When each call was due, and how long after that it was answered, in seconds.
        failures: What calls raised.
    """

    def __init__(self, client: predictd.Client, first_s: float, period_s: float) -> None:
        self.calls: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self._client = client
        self._due_s = first_s
        self._period_s = period_s
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        row = A.row()
        while True:
            now = time.monotonic()
            if self._period_s and self._due_s > now:
                time.sleep(self._due_s - now)
            # A call that could not be made in time because the one before took long was due all the same.
            due_s = self._due_s if self._period_s else now
            self._due_s += self._period_s
            try:
                self._client.predict(A.name, row, timeout_ms=ANSWER_TIMEOUT_MS)
            except predictd.PredictdError as error:
                self.failures.append(str(error))
            self.calls.append((due_s, time.monotonic() - due_s))


def main(endpoint: str, count: str, per_second: str) -> None:
    """Ask, and tell how it was."""
    period_s = int(count) / float(per_second) if float(per_second) else 0.0
    client = predictd.Client(endpoint)
    client.predict(A.name, A.row())
    start_s = time.monotonic()
    callers = [Caller(client, start_s + number * period_s / int(count), period_s) for number in range(int(count))]
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        windows = json.loads(line)
        calls = [call for caller in callers for call in list(caller.calls)]
        within = [took for due, took in calls if any(begin <= due < end for begin, end in windows)]
        failures = [text for caller in callers for text in caller.failures]
        told = {"ms": [round(took * 1000, 4) for took in within], "failed": len(failures), "why": failures[:1]}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
