"""Each child loads a model of its own with its first task."""

from __future__ import annotations

from benchmarks.ways_out.apps.own_model import own_model
from benchmarks.ways_out.apps.tasks import add_tasks, new_app

app = new_app()
add_tasks(app, own_model)
