"""predictd for Celery: a ready worker app and the tasks that ask the daemon. No TensorFlow in any of its processes.

    celery -A predictd_celery worker                       # prefork, as ever

    from predictd_celery import predict                    # in whatever enqueues
    predict.delay("digits", pixels).get()

Owns the public names. `app` and `predict` are made on first use: whoever imports this package for its base class or its
codec gets no second Celery app into the process. Any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictd_celery.tensor_json import decode_arrays, encode_arrays

if TYPE_CHECKING:
    from predictd_celery.application import app
    from predictd_celery.predict_task import PredictTask
    from predictd_celery.tasks import predict

__all__ = ["PredictTask", "app", "decode_arrays", "encode_arrays", "predict"]


def __getattr__(name: str) -> Any:
    if name == "app":
        from predictd_celery.application import app

        return app
    if name == "predict":
        # Bound to this package's own app: a shared task would go to whichever app is current.
        from predictd_celery.application import app
        from predictd_celery.tasks import PREDICT

        return app.tasks[PREDICT]
    if name == "PredictTask":
        from predictd_celery.predict_task import PredictTask

        return PredictTask
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
