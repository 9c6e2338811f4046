"""The limit of the model: `python -m benchmarks.limits.model_process DIRECTORY HELD NAME...`, without any road.

It makes the models of these names first, and then loads those that HELD names, with commas between them: one import of
TensorFlow for both.

For each line, `{"model", "way", "rows", "seconds", "fewest_calls"}`, it answers with a call's median time and rows per
second; with `"batch_size"` and `"all_rows"` it times `model.predict` of so many rows at once. So every limit is
measured when the caller asks for it, beside the other figures of that round. The first line says what can't be
measured, and why.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import make_models

WARM_UP_CALLS = 2


def main(directory: str, held: str, *names: str) -> None:
    """Make models, load some of them, and answer each line on standard input."""
    make_models.main(directory, *names)
    models = {name: Local(Path(directory) / f"{name}.keras", name) for name in held.split(",") if name}
    missing = {name: model.missing for name, model in models.items()}
    print(json.dumps({"ready": True, "missing": missing}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        model = models[asked["model"]]
        if "all_rows" in asked:
            answer = model.predict_all(asked["all_rows"], asked["batch_size"])
        else:
            answer = model.repeated(asked["way"], asked["rows"], asked["seconds"], asked["fewest_calls"])
        print(json.dumps(answer), flush=True)


class Local:
    """One model of this process.

    Attributes:
        missing: Ways of running it that there are none of, and why.
    """

    def __init__(self, path: Path, name: str) -> None:
        from benchmarks.limits.graph_ways import GraphWays
        from benchmarks.workloads import WORKLOADS

        self._row = WORKLOADS[name].row()
        self._graph = GraphWays(str(path), self._row)
        self._ways: dict[str, Any] = {"concrete": self._graph.concrete, "predict": self._graph.predict}
        self._warm: set[tuple[str, int]] = set()
        self.missing = {}
        try:
            self._ways["session"] = self._graph.session()
        except ValueError as error:
            self.missing["session"] = str(error)
        if self._row.dtype == object:
            self.missing["memcpy"] = "strings are no array of bytes"
        else:
            self._ways["memcpy"] = self._graph.memcpy

    def repeated(self, way: str, rows: int, seconds: float, fewest_calls: int) -> dict[str, float]:
        """Run a batch again and again."""
        import numpy as np

        batch = np.repeat(self._row, rows, axis=0)
        if (way, rows) not in self._warm:
            self._warm.add((way, rows))
            for _ in range(WARM_UP_CALLS):
                self._ways[way](batch)
        return _repeated(self._ways[way], batch, seconds, fewest_calls)

    def predict_all(self, count: int, batch_size: int) -> dict[str, float]:
        """Predict so many rows in one call, as Keras does."""
        import numpy as np

        rows = np.resize(self._row, (count, *self._row.shape[1:]))
        started = time.perf_counter()
        self._graph.model.predict(rows, batch_size=batch_size, verbose=0)
        return {"rows_per_s": len(rows) / (time.perf_counter() - started)}


def _repeated(call: Any, batch: Any, seconds: float, fewest_calls: int) -> dict[str, float]:
    times: list[float] = []
    started = before = time.perf_counter()
    while before < started + seconds or len(times) < fewest_calls:
        call(batch)
        after = time.perf_counter()
        times.append(after - before)
        before = after
    return {"p50_us": statistics.median(times) * 1e6, "rows_per_s": len(times) * len(batch) / (before - started)}


if __name__ == "__main__":
    main(*sys.argv[1:])
