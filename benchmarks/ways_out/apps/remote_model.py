"""predictd: the model is in the daemon, and the app has its name."""

from __future__ import annotations

import predictd
from benchmarks.ways_out.apps.tasks import add_tasks, new_app

app = new_app()
model = predictd.RemoteModel("mlp")
add_tasks(app, lambda: model)
