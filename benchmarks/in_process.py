"""The limit of the model: the same row through the same model inside this process, without any road.

`python -m benchmarks.in_process MODEL.keras` prints one line of JSON for each line it reads: the p50 and the rate of
the concrete function at batch 1; first of all, once, the p50 of `model.predict`. So a measurement is taken when the
caller asks for it, beside the others of that round.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WARM_UP_CALLS = 50


def main(path: str) -> None:
    """Answer each line on standard input (seconds to measure) with a line of JSON."""
    import keras
    import numpy as np
    import tensorflow as tf

    model = keras.saving.load_model(path, compile=False)
    row = np.linspace(0, 1, model.input_shape[1], dtype=np.float32)[None]
    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)
    concrete = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)

    def call() -> object:
        return concrete(tf.constant(row)).numpy()

    for _ in range(WARM_UP_CALLS):
        call()
    print(
        json.dumps({"ready": True, "predict_p50_us": _p50_us(lambda: model.predict(row, verbose=0), 2.0)[0]}),
        flush=True,
    )
    for line in sys.stdin:
        p50_us, per_second = _p50_us(call, float(line))
        print(json.dumps({"p50_us": p50_us, "per_second": per_second}), flush=True)


def _p50_us(call: Callable[[], object], seconds: float) -> tuple[float, float]:
    times: list[float] = []
    started = before = time.perf_counter()
    while before < started + seconds:
        call()
        after = time.perf_counter()
        times.append(after - before)
        before = after
    times.sort()
    return times[len(times) // 2] * 1e6, len(times) / (before - started)


if __name__ == "__main__":
    main(sys.argv[1])
