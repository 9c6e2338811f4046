"""predictd for Celery: a ready worker app and the tasks that ask the daemon. No TensorFlow in any of its processes.

    from predictd_celery import predict_task               # in an app of one's own

    @predict_task("digits", app=app)
    def digit(prediction):
        return int(prediction.outputs.argmax())

    celery -A predictd_celery worker                       # or the ready app: prefork, as ever

    from predictd_celery import predict                    # in whatever enqueues
    predict.delay("digits", pixels).get()

Owns the public names. They are made on first use: kombu imports this package in every process, for its serializer; that
must cost neither numpy nor a Celery app. Any thread.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predictd_celery.application import app
    from predictd_celery.array_task import ArrayTask
    from predictd_celery.base_task import PredictTask
    from predictd_celery.claims.claim_check import use_claim_check
    from predictd_celery.health import DaemonHealth
    from predictd_celery.model_queues import ModelQueues
    from predictd_celery.model_tasks import model_task, predict_task
    from predictd_celery.retries import RetryPolicy
    from predictd_celery.scoring.run import score
    from predictd_celery.tasks import predict, predict_many, status
    from predictd_celery.tensor_json import decode_arrays, encode_arrays

__all__ = [
    "ArrayTask",
    "DaemonHealth",
    "ModelQueues",
    "PredictTask",
    "RetryPolicy",
    "app",
    "decode_arrays",
    "encode_arrays",
    "model_task",
    "predict",
    "predict_many",
    "predict_task",
    "score",
    "status",
    "use_claim_check",
]

_HOMES = {
    "ArrayTask": "array_task",
    "DaemonHealth": "health",
    "ModelQueues": "model_queues",
    "PredictTask": "base_task",
    "RetryPolicy": "retries",
    "app": "application",
    "decode_arrays": "tensor_json",
    "encode_arrays": "tensor_json",
    "model_task": "model_tasks",
    "predict_task": "model_tasks",
    "score": "scoring.run",
    "use_claim_check": "claims.claim_check",
}
_READY_TASKS = frozenset(("predict", "predict_many", "status"))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"predictd_celery.{_HOMES[name]}"), name)
    if name in _READY_TASKS:
        # Bound to this package's own app: a shared task would go to whichever app is current.
        from predictd_celery.application import app

        import_module("predictd_celery.tasks")
        return app.tasks[f"predictd.{name}"]
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
