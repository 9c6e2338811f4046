"""The worker's side of its broker's connection: Celery's own, for a Redis that restarts.

Owns what becomes of channels when their connection is lost. Runs in a worker's parent, in its main thread.

    app.conf.worker_consumer = "predictd_celery.worker_consumer:Consumer"    # an app of one's own; the ready app has it
"""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer


class Consumer(CeleryConsumer):  # type: ignore[misc]  # Celery has no types
    """Connects again where Celery's own ends the worker.

    What a worker had not begun is handed back, and what it finishes late acknowledged, on a channel whose connection
    kombu has forgotten. While Redis refuses connections, which is what a restart looks like, that is an AttributeError
    (up to kombu 5.7 at least), and to Celery an unrecoverable error; a connection error it expects. Redis hands such
    tasks out again after its visibility timeout.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Put the lost connection away."""
        for channel in getattr(self.connection.transport, "channels", None) or ():
            _expect_loss(channel)
        super().on_connection_error_after_connected(exc)


def _expect_loss(channel: Any) -> None:
    connect = getattr(channel, "_connparams", None)
    if connect is None:  # not Redis
        return

    def parameters(*args: Any, **words: Any) -> Any:
        if channel.connection is None or channel.connection.client is None:
            message = "the connection to the broker of this channel was lost"
            raise ConnectionError(message)
        return connect(*args, **words)

    channel._connparams = parameters
