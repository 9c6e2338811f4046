"""The ready app's settings, each with its reason.

Owns reading them from the environment. It connects to nothing; a wrong value is an error here and not in the middle of
a task. Runs once, in whichever process makes the app.

    PREDICTD_BROKER_URL              redis://127.0.0.1:6379/0   where tasks are queued
    PREDICTD_RESULT_URL              the broker's Redis         where results are kept; `rpc://` for other brokers
    PREDICTD_TASK_MAX_RETRIES        10                         retries of a task that met a retryable error
    PREDICTD_TASK_MAX_RETRY_DELAY_S  30                         the longest wait before one, in seconds
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from predictd_celery.retries import VISIBILITY_TIMEOUT_S, RetryPolicy
from predictd_proto.errors import ConfigError

DEFAULT_BROKER_URL = "redis://127.0.0.1:6379/0"
RESULT_EXPIRES_S = 3600
QUEUE = "predictd"

Number = TypeVar("Number", int, float)


def celery_settings(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the settings of the ready app."""
    broker_url = environ.get("PREDICTD_BROKER_URL") or DEFAULT_BROKER_URL
    return {
        "broker_url": broker_url,
        "result_backend": environ.get("PREDICTD_RESULT_URL") or result_url(broker_url),
        # JSON and nothing else, in and out: an unpickled message runs whatever code its sender likes.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        # Predictions are asked for and read at once; Celery's own day keeps a day's arrays in Redis' memory.
        "result_expires": RESULT_EXPIRES_S,
        # A queue of its own: on Celery's default one this worker would take, and drop, the tasks of any other app that
        # shares the broker.
        "task_default_queue": QUEUE,
        # The whole point: the pool with isolation, time limits and kill, which TensorFlow in the worker forbids.
        "worker_pool": "prefork",
        # Tasks/s with 4 children on 2 busy cores, median of four runs: 190 with 1, 217 with 4, 172 with 16.
        "worker_prefetch_multiplier": 4,
        # Broker and worker may come up in any order, and a broker's restart is no reason to end.
        "broker_connection_retry_on_startup": True,
        # A restart of Redis must not turn a good answer into a failure: twelve tries are about half a minute.
        "result_backend_always_retry": True,
        "result_backend_max_retries": 12,
        # After this long the tasks of a worker that was killed are handed out again; its reason is `retries.py`'s.
        "broker_transport_options": {"visibility_timeout": VISIBILITY_TIMEOUT_S} if is_redis(broker_url) else {},
    }


def retry_policy(environ: Mapping[str, str] = os.environ) -> RetryPolicy:
    """Return how tasks try again.

    Raises:
        ConfigError: A setting is no number or out of range.
    """
    default = RetryPolicy()
    try:
        return RetryPolicy(
            max_retries=_number(environ, "PREDICTD_TASK_MAX_RETRIES", int, default.max_retries),
            max_delay_s=_number(environ, "PREDICTD_TASK_MAX_RETRY_DELAY_S", float, default.max_delay_s),
        )
    except ValueError as error:
        message = f"the environment's PREDICTD_TASK_MAX_RETRIES or PREDICTD_TASK_MAX_RETRY_DELAY_S: {error}"
        raise ConfigError(message) from error


def result_url(broker_url: str) -> str:
    """Return where results go when nothing says so: the broker's Redis, else through the broker itself."""
    return broker_url if is_redis(broker_url) else "rpc://"


def is_redis(broker_url: str) -> bool:
    """Whether a broker URL names Redis (by tcp, TLS or socket file)."""
    return broker_url.partition("://")[0] in {"redis", "rediss", "redis+socket"}


def _number(environ: Mapping[str, str], name: str, kind: Callable[[str], Number], default: Number) -> Number:
    text = environ.get(name)
    return kind(text) if text else default
