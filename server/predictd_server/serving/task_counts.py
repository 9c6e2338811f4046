"""Task counts: how many requests came for which tasks, by the tasks' names and by their queues.

Owns the totals and the bound on their number. Pure; the pump's thread counts, any thread reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictd_server.serving.calling_task import CallingTask

#: Names of either kind that are counted by themselves: as many kinds of tasks as anybody looks at. A client that makes
#: names up must make neither the server's memory nor its status grow.
MOST_NAMES = 64

#: Where those are counted that came when there were so many. No name of Celery's has brackets.
OTHERS = "(other)"


@dataclass(slots=True, eq=False)
class TaskCount:
    """Totals of one name.

    Attributes:
        requests: Requests for it.
        joined: Of these, those that joined the run of an earlier one of the same task.
        kept: Those whose client vanished, and whose work was kept for the task's next run.
    """

    requests: int = 0
    joined: int = 0
    kept: int = 0


class TaskCounts:
    """Totals since the start.

    Attributes:
        names: By the task's name.
        queues: By the queue that it came from.
    """

    def __init__(self) -> None:
        self.names: dict[str, TaskCount] = {}
        self.queues: dict[str, TaskCount] = {}

    def request(self, task: CallingTask) -> None:
        """Count a request."""
        for count in self._of(task):
            count.requests += 1

    def join(self, task: CallingTask) -> None:
        """Count one that joined an earlier one's run."""
        for count in self._of(task):
            count.joined += 1

    def keep(self, task: CallingTask) -> None:
        """Count one whose work was kept."""
        for count in self._of(task):
            count.kept += 1

    def _of(self, task: CallingTask) -> list[TaskCount]:
        if not (task.id or task.name):
            # A trace alone: somebody else's request, whose class is no queue.
            return []
        named = ((self.names, task.name), (self.queues, task.queue))
        return [_count(counts, name) for counts, name in named if name]


def _count(counts: dict[str, TaskCount], name: str) -> TaskCount:
    count = counts.get(name)
    if count is None:
        if len(counts) >= MOST_NAMES:
            name = OTHERS
        count = counts.setdefault(name, TaskCount())
    return count
