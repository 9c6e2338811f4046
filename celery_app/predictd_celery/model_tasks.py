"""Tasks made of a model's name: `predict_task` around a function of one's own, `model_task` without one.

Owns their contract and the checks of what is decorated. What happens when they run is `PredictTask`'s. Runs at import,
in the worker's parent and in whatever enqueues; opens nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import celery

from predictd import Prediction
from predictd_celery.base_task import PredictTask
from predictd_proto.errors import ConfigError

Task = TypeVar("Task", bound=PredictTask)
Function = Callable[..., Any]

MODEL_TASK = "predictd.model"
_SELF_HINT = "for a task that calls the model itself write @app.task(base=PredictTask, bind=True) and self.ask(...)"
_PLAIN_KINDS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

#: What `model_task` has made for all apps, by name. What it has made for one is kept in that app and goes with it.
_shared: dict[str, tuple[dict[str, Any], Any]] = {}
_MADE = "predictd_model_tasks"


def predict_task(
    model: str,
    *,
    app: Any = None,
    version: int | str | None = None,
    signature: str | None = None,
    timeout_ms: float | None = None,
    cast: bool = False,
    prepare: Function | None = None,
    **options: Any,
) -> Callable[[Function], Any]:
    """Make a task that asks a model and hands its answer to the function.

        @predict_task("digits", app=app, soft_time_limit=5)
        def digit(prediction, threshold=0.5):
            scores = prediction.outputs[0]
            return int(scores.argmax()) if scores.max() > threshold else None

        digit.delay([pixels], threshold=0.8)

    The one rule: for the function's first parameter the caller of the task passes the model's inputs, and the function
    gets the `Prediction`. All other parameters are the task's. What it returns is the result, numpy's numbers and
    arrays included. Deadline, retries and errors are those of `PredictTask`.

    Args:
        model: The model's name.
        app: Celery's app; None for every app there is, as `shared_task` does.
        version: A version number, a label, or None for the latest.
        signature: The signature's name; None for the model's default.
        timeout_ms: The most that asking may take, in milliseconds; the task's own limits hold as well.
        cast: Turn arrays of another dtype into the model's, as Keras does.
        prepare: What the caller passes goes through it first, in the worker: `prepare=load_image` for a task that takes
            a path.
        options: Celery's own: `name`, `soft_time_limit`, `max_retries`, ...

    Raises:
        ConfigError: The model's name is none, or the function can't be such a task.
    """
    question = {"version": version, "signature": signature, "timeout_ms": timeout_ms, "cast": cast}
    _check(model, prepare, options)
    maker = _task_maker(app)

    def make(function: Function) -> Any:
        run = _around(function, model, prepare, question)
        # Not shared: Celery would put a task of this app into every other app too.
        settings = {"base": PredictTask, "shared": app is None, **options, "bind": True, "predictd_model": model}
        return maker(**settings)(run)

    return make


def model_task(model: str, *, app: Any = None, name: str = "", **options: Any) -> Any:
    """Make a task that returns a model's outputs, in one line.

        digits = model_task("digits", app=app)

        digits.delay([pixels])

    Args:
        model: The model's name.
        app: As in `predict_task`.
        name: The task's name; without one `predictd.model.digits`, and `predictd.model.digits.2` for a version.
        options: As in `predict_task`.

    Raises:
        ConfigError: As in `predict_task`; or there is a task of that name which asks otherwise.
    """
    chosen = [str(options[word]) for word in ("version", "signature") if options.get(word) is not None]
    name = name or ".".join((MODEL_TASK, str(model), *chosen))
    decorator = predict_task(model, app=app, name=name, **options)
    known = _shared if app is None else vars(app).setdefault(_MADE, {})
    asks = {"model": model, **options}
    if name not in known:
        known[name] = asks, decorator(_outputs)
    before, task = known[name]
    if before != asks:
        message = (
            f"model_task({model!r}): there is a task {name!r} that asks otherwise; give this one a name of its own"
        )
        raise ConfigError(message)
    return task


def _outputs(prediction: Prediction) -> Any:
    """Return a model's outputs."""
    return prediction.outputs


def _task_maker(app: Any) -> Any:
    if app is None:
        return celery.shared_task
    if not isinstance(app, celery.Celery):
        message = f"predict_task: app: expected a Celery app or None, got {app!r}"
        raise ConfigError(message)
    return app.task


def _around(function: Function, model: str, prepare: Function | None, question: dict[str, Any]) -> Function:
    """Return the function of the task: asks, and then calls the given one."""
    signature = _checked_signature(function, model)
    first = next(iter(signature.parameters))

    @wraps(function)
    def run(self: PredictTask, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        inputs = bound.arguments[first]
        bound.arguments[first] = self.ask(model, prepare(inputs) if prepare else inputs, **question)
        return function(*bound.args, **bound.kwargs)

    # Celery reads it to refuse wrong arguments where they are enqueued; it binds the first one itself.
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [parameter.replace(kind=_named(parameter)) for parameter in signature.parameters.values()]
    run.__signature__ = signature.replace(parameters=[itself, *parameters])  # type: ignore[attr-defined]
    return run


def _named(parameter: inspect.Parameter) -> Any:
    is_positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    return inspect.Parameter.POSITIONAL_OR_KEYWORD if is_positional else parameter.kind


def _check(model: object, prepare: object, options: dict[str, Any]) -> None:
    if not isinstance(model, str) or not model:
        hint = '; write @predict_task("digits") above the function' if callable(model) else ""
        message = f"predict_task: expected a model's name, got {model!r}{hint}"
        raise ConfigError(message)
    if prepare is not None and not callable(prepare):
        message = f"predict_task({model!r}): prepare: expected a function of the inputs, got {prepare!r}"
        raise ConfigError(message)
    if "bind" in options:
        message = f"predict_task({model!r}): bind is its own; {_SELF_HINT}"
        raise ConfigError(message)


def _checked_signature(function: Any, model: str) -> inspect.Signature:
    where = f"predict_task({model!r}): {getattr(function, '__qualname__', function)!s}"
    if not inspect.isfunction(function) or function.__name__ == "<lambda>":
        message = f"{where}: expected a function with a name (def)"
        raise ConfigError(message)
    if (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        message = f"{where}: expected a plain function: Celery runs no coroutines and no generators"
        raise ConfigError(message)
    signature = inspect.signature(function)
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind not in _PLAIN_KINDS or first.default is not first.empty:
        message = (
            f"{where}: its first parameter, for the prediction, must be a plain one without a default: {signature}"
        )
        raise ConfigError(message)
    if "self" in signature.parameters:
        message = f"{where}: expected no parameter 'self', the function gets the prediction: {signature}; {_SELF_HINT}"
        raise ConfigError(message)
    return signature
