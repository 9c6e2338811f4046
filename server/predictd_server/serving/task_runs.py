"""Task runs: work whose task lost its process, kept for the process that runs the task next.

Owns what is kept, for how long, and the bound on it. It answers nobody and drops nothing; the core does. Pure; pump
thread only.

Where a worker's child is killed, Celery hands its task out again (`acks_late`), and the next run asks the same. Until
it comes, what the first has asked waits or runs on as if its client were there; an answer that comes before it is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from predictd_proto.tensors import Tensor
from predictd_server.serving.client_memory import owned
from predictd_server.serving.pending import Pending
from predictd_server.serving.response_cache import TENSOR_BYTES
from predictd_server.serving.served import ServedSignature
from predictd_server.serving.task_question import TaskQuestion, question_of

#: What answers that are kept may take, their inputs among it: they are compared with the next run's.
KEPT_BYTES = 64 << 20

#: What one takes beside its inputs and outputs: the question, the entry, and their places. (Measured with what each
#: tensor takes: 1,010 bytes for one of each, 14,600 for 32 of each.)
ENTRY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class _Answer:
    outputs: tuple[Tensor, ...]
    until_s: float
    byte_count: int


class TaskRuns:
    """What is kept for the next runs of tasks.

    Args:
        keep_s: How long; 0 keeps nothing.

    Attributes:
        open_requests: How many requests are kept, or were taken over and are not over yet; asked for with every batch.
        bytes: What the answers take that are kept.
        next_s: When `sweep` may have something to do (monotonic).
    """

    def __init__(self, keep_s: float) -> None:
        self.keep_s = keep_s
        self.open_requests = 0
        self.bytes = 0
        self.next_s = inf
        self._requests: dict[TaskQuestion, dict[Pending, float]] = {}
        self._questions: dict[Pending, TaskQuestion] = {}
        self._answers: OrderedDict[TaskQuestion, _Answer] = OrderedDict()
        self._joined: set[Pending] = set()

    @property
    def answers(self) -> int:
        """Answers that are kept."""
        return len(self._answers)

    def keep(self, request: Pending, now: float) -> bool:
        """Keep a request whose client is gone; return whether it is one to keep."""
        question = question_of(request) if self.keep_s else None
        if question is None or request.task is None:
            return False
        try:
            # What the next run is compared with must not change, and a client that is gone needs its memory no more.
            question.tensors = owned(request).tensors
        except MemoryError:
            return False
        request.task.is_kept, request.task.is_joined = True, False
        # The next run has a time of its own, and so may come later than this one's was up.
        request.deadline_s = now + self.keep_s
        request.reply_place = None
        self._joined.discard(request)
        self._questions[request] = question
        self._requests.setdefault(question, {})[request] = request.deadline_s
        self._count()
        return True

    def take(self, heir: Pending) -> Pending | None:
        """Return the request that the next run of its task takes over; None where none is kept for it."""
        question = question_of(heir) if self._questions else None
        requests = None if question is None else self._requests.get(question)
        if not requests:
            return None
        request = next(iter(requests))
        self.hand_over(request, heir)
        return request

    def hand_over(self, request: Pending, heir: Pending) -> None:
        """Note until a request is over that another run of its task took it over."""
        self.leave(request)
        if heir.task is not None:
            heir.task.is_joined = True
            self._joined.add(request)
            self._count()

    def take_answer(self, heir: Pending) -> tuple[Tensor, ...] | None:
        """Return the outputs that were kept for the next run of a task, and keep them no longer."""
        question = question_of(heir) if self._answers else None
        answer = None if question is None else self._remove(question)
        return None if answer is None or answer.until_s <= heir.arrived_s else answer.outputs

    def settle(self, request: Pending, outputs: Sequence[Tensor]) -> None:
        """Keep the answer to a request that is kept, if there is room for it at all."""
        question = self._questions[request]
        tensors = (*question.tensors, *outputs)
        byte_count = ENTRY_BYTES + sum([TENSOR_BYTES + len(tensor.data) for tensor in tensors])
        if byte_count > KEPT_BYTES:
            return
        until_s = self._requests[question][request]
        self._remove(question)
        # A copy: the outputs may be views into a whole run's, or the run's into TensorFlow's memory.
        kept = tuple(Tensor(tensor.name, tensor.dtype, tensor.shape, bytes(tensor.data)) for tensor in outputs)
        self._answers[question] = _Answer(kept, until_s, byte_count)
        self.bytes += byte_count
        self.next_s = min(self.next_s, until_s)
        while self.bytes > KEPT_BYTES:
            self._remove(next(iter(self._answers)))

    def leave(self, request: Pending) -> None:
        """Take out a request that is over, or has a client again."""
        self._joined.discard(request)
        question = self._questions.pop(request, None)
        if question is not None:
            requests = self._requests[question]
            del requests[request]
            if not requests:
                del self._requests[question]
        self._count()

    def waiting(self) -> list[Pending]:
        """Return the requests that are kept and have rows that wait for a batch."""
        return [request for request in self._questions if request.next_row < request.rows]

    def sweep(self, now: float) -> None:
        """Let go of the answers whose time is up."""
        self._keep_only(lambda _, answer: answer.until_s > now)
        self.next_s = min([answer.until_s for answer in self._answers.values()], default=inf)

    def drop_unserved(self, is_served: Callable[[ServedSignature], bool]) -> None:
        """Let go of the answers of versions that are no longer served."""
        self._keep_only(lambda question, _: is_served(question.signature))

    def drop_answers(self) -> None:
        """Let go of all answers."""
        self._keep_only(lambda _, __: False)

    def _count(self) -> None:
        self.open_requests = len(self._questions) + len(self._joined)

    def _keep_only(self, is_kept: Callable[[TaskQuestion, _Answer], bool]) -> None:
        for question in [question for question, answer in self._answers.items() if not is_kept(question, answer)]:
            self._remove(question)

    def _remove(self, question: TaskQuestion) -> _Answer | None:
        answer = self._answers.pop(question, None)
        if answer is not None:
            self.bytes -= answer.byte_count
        return answer
