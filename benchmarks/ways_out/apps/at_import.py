"""The model is loaded where the app is imported: in a prefork worker's parent, before the fork."""

from __future__ import annotations

import os

import keras

from benchmarks.ways_out.apps.tasks import add_tasks, new_app

app = new_app()
model = keras.models.load_model(os.environ["WAYS_MODEL"])
add_tasks(app, lambda: model)
