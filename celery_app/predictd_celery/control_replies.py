"""What workers answer to remote control is JSON, whatever tasks are written in.

Owns that one setting of a worker. Celery takes the tasks' serializer for it, and a monitor without the app's settings,
such as a plain Flower, then refuses each answer, `ping` included. Runs in the worker's parent, before it listens.
"""

from __future__ import annotations

from typing import Any

from predictd_celery.kombu_serializer import NAME


def reply_in_json(instance: Any, conf: Any, **_: Any) -> None:
    """Let a worker answer in JSON, as it sends its events; a receiver of `celeryd_after_setup`.

    Args:
        instance: The worker.
        conf: Its app's settings.
    """
    # Who accepts no JSON would refuse it as well.
    if conf.task_serializer == NAME and "json" in conf.accept_content:
        instance.app.control.mailbox.serializer = "json"
