"""The ready app's settings, each with its reason.

Owns reading them from the environment. It connects to nothing; a wrong value is an error here and not in the middle of
a task. Runs once, in whichever process makes the app.

    PREDICTD_BROKER_URL              redis://127.0.0.1:6379/0   where tasks are queued
    PREDICTD_RESULT_URL              the broker's Redis         where results are kept; `rpc://` for other brokers
    PREDICTD_TASK_MAX_RETRIES        10                         retries of a task that met a retryable error
    PREDICTD_TASK_MAX_RETRY_DELAY_S  30                         the longest wait before one, in seconds
    PREDICTD_VISIBILITY_TIMEOUT_S    600                        Redis hands out again what is not acknowledged by then
    PREDICTD_QUEUES                  none                       models with queues of their own: `model_queues.py`

and of every worker that loads predictd's tasks:

    PREDICTD_TIMEOUT_MS              30000                      what a task's call may take, in milliseconds; an app's
                                                                own setting `predictd_timeout_ms` goes before it
    PREDICTD_HEALTH_INTERVAL_S       30                         between two looks at the daemon, in seconds; 0 for none
    PREDICTD_TENSORFLOW_GUARD        warn                       a worker imports TensorFlow: warn, refuse, off
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from predictd.deadline import check_timeout_ms
from predictd_celery.kombu_serializer import register
from predictd_celery.model_queues import VARIABLE, ModelQueues
from predictd_celery.retries import DEFAULT_MAX_RETRIES, VISIBILITY_TIMEOUT_S, RetryPolicy
from predictd_proto.errors import ConfigError

DEFAULT_BROKER_URL = "redis://127.0.0.1:6379/0"
RESULT_EXPIRES_S = 3600
QUEUE = "predictd"

MAX_RETRIES = "PREDICTD_TASK_MAX_RETRIES"
MAX_RETRY_DELAY_S = "PREDICTD_TASK_MAX_RETRY_DELAY_S"
VISIBILITY_TIMEOUT = "PREDICTD_VISIBILITY_TIMEOUT_S"
TIMEOUT_MS = "PREDICTD_TIMEOUT_MS"
HEALTH_INTERVAL_S = "PREDICTD_HEALTH_INTERVAL_S"
TENSORFLOW_GUARD = "PREDICTD_TENSORFLOW_GUARD"
GUARD_MODES = ("warn", "refuse", "off")

#: A worker waits for messages in a read without an end. Where Redis restarts while the host is cut off, nothing will
#: come, and kombu waits: for ever before 5.7, else for 50 s. The kernel asks after these, and is told.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
#: Between two looks for tasks that nobody acknowledged, at most.
_LONGEST_LOOK_S = 10.0


def celery_settings(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the settings of the ready app, and make sure that Celery knows the serializers that they name."""
    register()
    broker_url = environ.get("PREDICTD_BROKER_URL") or DEFAULT_BROKER_URL
    results = environ.get("PREDICTD_RESULT_URL") or result_url(broker_url)
    return {
        "broker_url": broker_url,
        "result_backend": results,
        # Nothing that unpickles: such a message runs whatever code its sender likes.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json", "predictd"],
        # Predictions are asked for and read at once; Celery's own day keeps a day's arrays in Redis' memory.
        "result_expires": RESULT_EXPIRES_S,
        # A queue of its own: on Celery's default one this worker would take, and drop, the tasks of any other app that
        # shares the broker.
        "task_default_queue": QUEUE,
        "task_routes": (ModelQueues.parse(environ.get(VARIABLE, "")),),
        # The whole point: the pool with isolation, time limits and kill, which TensorFlow in the worker forbids.
        "worker_pool": "prefork",
        # Tasks/s with 4 children on 2 busy cores, median of four runs: 190 with 1, 217 with 4, 172 with 16.
        "worker_prefetch_multiplier": 4,
        # Broker and worker may come up in any order, and a broker's restart is no reason to end.
        "broker_connection_retry_on_startup": True,
        "worker_consumer": "predictd_celery.worker_consumer:Consumer",
        # A restart of Redis must not turn a good answer into a failure: twelve tries are about half a minute.
        "result_backend_always_retry": True,
        "result_backend_max_retries": 12,
        "broker_transport_options": _redis_options(visibility_timeout_s(environ)) if is_redis(broker_url) else {},
        # A socket file has none, and Celery's Redis backend hands the setting on nevertheless.
        "redis_socket_keepalive": is_redis(results) and not results.startswith("redis+socket"),
    }


def _redis_options(timeout_s: float) -> dict[str, Any]:
    return {
        # After this long the tasks of a worker that was killed are handed out again; its reason is `retries.py`'s.
        "visibility_timeout": timeout_s,
        # kombu looks every 10 s, and acts on each tenth look: up to 100 s later.
        "unacked_restore_interval": min(timeout_s / 10, _LONGEST_LOOK_S),
        "unacked_restore_throttle": 1,
        "socket_keepalive": True,
        # Not each system has each of them.
        "socket_keepalive_options": {
            getattr(socket, name): value for name, value in _KEEPALIVE.items() if hasattr(socket, name)
        },
    }


def retry_policy(environ: Mapping[str, str] = os.environ) -> RetryPolicy:
    """Return how long tasks wait before they try again.

    Raises:
        ConfigError: The setting is no number or out of range.
    """
    text = environ.get(MAX_RETRY_DELAY_S)
    try:
        return RetryPolicy(max_delay_s=float(text)) if text else RetryPolicy()
    except ValueError as error:
        message = f"the environment's {MAX_RETRY_DELAY_S}: {error}"
        raise ConfigError(message) from error


def max_retries(environ: Mapping[str, str] = os.environ) -> int:
    """Return how often tasks try again.

    Raises:
        ConfigError: The setting is no whole number, or below 0.
    """
    text = environ.get(MAX_RETRIES)
    if not text:
        return DEFAULT_MAX_RETRIES
    if not text.isdecimal():
        message = f"the environment's {MAX_RETRIES}: expected a whole number from 0 on, got {text!r}"
        raise ConfigError(message)
    return int(text)


def task_timeout_ms(conf: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> float | None:
    """Return what a task's call may take where nothing nearer says so, in milliseconds; None for the client's own.

    Args:
        conf: The app's settings (`app.conf`).
        environ: The environment.

    Raises:
        ConfigError: The setting is no number of milliseconds.
    """
    name = TIMEOUT_MS.lower()
    given: Any = conf.get(name)
    if given is None:
        name, given = f"the environment's {TIMEOUT_MS}", environ.get(TIMEOUT_MS) or None
        # What is no number is refused below, as the text that it is.
        with suppress(TypeError, ValueError):
            given = float(given)
    return None if given is None else check_timeout_ms(name, given)


def visibility_timeout_s(environ: Mapping[str, str] = os.environ) -> float:
    """Return after how many seconds Redis hands out again what no worker has acknowledged.

    Raises:
        ConfigError: The setting is no number, or below 1.
    """
    return _seconds(environ, VISIBILITY_TIMEOUT, VISIBILITY_TIMEOUT_S, least_s=1)


def health_interval_s(environ: Mapping[str, str] = os.environ) -> float:
    """Return how often a worker looks at its daemon, in seconds; 0 for never.

    Raises:
        ConfigError: The setting is no number, or below 0.
    """
    return _seconds(environ, HEALTH_INTERVAL_S, 30.0, least_s=0)


def _seconds(environ: Mapping[str, str], name: str, default_s: float, *, least_s: int) -> float:
    text = environ.get(name)
    if not text:
        return default_s
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not least_s <= seconds < math.inf:
        message = f"the environment's {name}: expected a number of seconds from {least_s} on, got {text!r}"
        raise ConfigError(message)
    return seconds


def tensorflow_guard_mode(environ: Mapping[str, str] = os.environ) -> str:
    """Return what happens when a process of a worker imports TensorFlow.

    Raises:
        ConfigError: There is no such mode.
    """
    mode = environ.get(TENSORFLOW_GUARD) or "warn"
    if mode not in GUARD_MODES:
        message = f"the environment's {TENSORFLOW_GUARD}: expected one of {', '.join(GUARD_MODES)}, got {mode!r}"
        raise ConfigError(message)
    return mode


def result_url(broker_url: str) -> str:
    """Return where results go when nothing says so: the broker's Redis, else through the broker itself."""
    return broker_url if is_redis(broker_url) else "rpc://"


def is_redis(broker_url: str) -> bool:
    """Whether a broker URL names Redis (by tcp, TLS or socket file)."""
    return broker_url.partition("://")[0] in {"redis", "rediss", "redis+socket"}
