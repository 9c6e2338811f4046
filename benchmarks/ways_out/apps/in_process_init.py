"""Each child loads a model of its own as it starts, in `worker_process_init`."""

from __future__ import annotations

import os
from typing import Any

from celery.signals import worker_process_init

from benchmarks.ways_out.apps.tasks import add_tasks, new_app

app = new_app()
models: list[Any] = []


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def load(**_: object) -> None:
    """Load it."""
    import keras

    models.append(keras.models.load_model(os.environ["WAYS_MODEL"]))


add_tasks(app, lambda: models[0])
