"""Which queue the tasks of a model go to: hosts of one class consume one, hosts of another class another.

Owns reading the model out of a task or its arguments, and the patterns. It connects to nothing. Any thread, in whatever
enqueues; a worker that retries a task keeps the queue it came by.

    app.conf.task_routes = (ModelQueues({"mobilenet": "gpu", "text-*": "large"}),)    # an app of one's own
    PREDICTD_QUEUES=mobilenet=gpu,text-*=large                                        # the ready app
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from predictd_proto.errors import ConfigError

VARIABLE = "PREDICTD_QUEUES"
#: Tasks whose first argument is a model's name.
_NAMING = frozenset(("predictd.predict", "predictd.predict_many", "predictd.score_question"))
_SCORE_CHUNK = "predictd.score_chunk"


class ModelQueues:
    """A router of Celery's: for the ready tasks, those of bulk scoring, and those of `predict_task` and `model_task`.

    A task of one's own says `predictd_model="mobilenet"` in its decorator. Of one that is sent by its name alone
    (`send_task`) only the ready ones' models are known.

    Args:
        queues: Queues by models' names, or patterns of them (`*`, `?`, `[...]`); the first that fits holds. What none
            fits, and tasks that name no model, go where they went.
    """

    def __init__(self, queues: Mapping[str, str]) -> None:
        self.queues = dict(queues)

    @classmethod
    def parse(cls, text: str) -> ModelQueues:
        """Return the router that a setting describes.

        Raises:
            ConfigError: It is none.
        """
        pairs = [pair.strip().partition("=") for pair in text.split(",") if pair.strip()]
        if not all(model and queue for model, _, queue in pairs):
            message = f"the environment's {VARIABLE}: expected MODEL=QUEUE, several with commas between, got {text!r}"
            raise ConfigError(message)
        return cls({model.strip(): queue.strip() for model, _, queue in pairs})

    def __call__(self, name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> Any:
        """Return the queue of one task, as Celery asks for it."""
        del options
        model = getattr(task, "predictd_model", None) or _model_of(name, args or (), kwargs or {})
        if model is None:
            return None
        return next(({"queue": queue} for pattern, queue in self.queues.items() if fnmatchcase(model, pattern)), None)


def _model_of(name: str, args: Any, kwargs: Mapping[str, Any]) -> str | None:
    if name in _NAMING:
        model = args[0] if args else kwargs.get("model")
        return model if isinstance(model, str) else None
    if name == _SCORE_CHUNK:
        chunk = args[0] if args else kwargs.get("chunk", {})
        return str(chunk["question"]["model"])
    return None
