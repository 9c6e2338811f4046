"""What becomes of a task that its worker's child has died with: it is handed out again, but not for ever.

Owns the count of its children, which travels in the headers of its message, and the wait before it is sent again. What
kills a child may be the task itself: its own code, a decoder that crashes, inputs that don't fit into memory. Runs in a
worker's parent, where the message is sent anew as it came. Only a message that holds large arrays, since its sender had
no claim check and this worker has one, makes the parent open the claim store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from predictd_celery.shown_request import ShownRequest

#: A task that has cost so many children fails. The first death may have been chance, or the system's memory.
MOST_DEATHS = 3
_DEATHS = "predictd_deaths"

logger = logging.getLogger(__name__)


class MortalRequest(ShownRequest):
    """A task's message in a worker, with a count of deaths."""

    def _retry_worker_lost(self, exc: BaseException, exc_info: Any) -> bool:
        """Send the task again after its child's death; return whether it comes again, else Celery fails it.

        Celery (5.7) asks where the task has `retry_on_worker_lost` and retries left. These are for a daemon that is
        away, and there may be no end of them.
        """
        context = self._context
        deaths = 1 + int(context.get(_DEATHS) or 0)
        if deaths >= MOST_DEATHS:
            return False
        context.headers = {**(context.headers or {}), _DEATHS: deaths}
        try:
            with _delay(self.task):
                is_sent = super()._retry_worker_lost(exc, exc_info)
        except Exception:
            # Whatever sending raises, Celery keeps to itself: this is the results' backend, or a hook.
            logger.exception("task %s[%s] is sent again, but its retry could not be told", self.name, self.id)
            self.acknowledge()
            return True
        if is_sent:
            return True
        if self.delivery_info["redelivered"]:
            # It may be what is sent that can't be, and not the broker: that would be so for ever.
            return False
        # The broker doesn't take it now; it has the message itself.
        self.reject(requeue=True)
        return True


@contextmanager
def _delay(task: Any) -> Iterator[None]:
    """Have Celery wait for a task's `lost_child_delay_s`. It reads another attribute, which is also the users' own."""
    known = "default_retry_delay"
    before = vars(task).get(known)
    setattr(task, known, task.lost_child_delay_s)
    try:
        yield
    finally:
        if before is None:
            delattr(task, known)
        else:
            setattr(task, known, before)
