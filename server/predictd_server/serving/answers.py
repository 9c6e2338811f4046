"""Answers: what came of a request becomes its reply, and the request is over.

Owns the replies that wait to be sent, and the end of requests: answered, failed, refused, expired or dropped. Whether
one is admitted and what runs is the core's. Pure; pump thread only.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictd_proto.errors import PredictdError
from predictd_proto.frames import encode
from predictd_proto.messages import ErrorResponse
from predictd_proto.tensors import Buffer, Tensor
from predictd_server.serving import client_memory, refusals
from predictd_server.serving.admission import Admission
from predictd_server.serving.batch import Batch, Run
from predictd_server.serving.counters import Counters
from predictd_server.serving.open_requests import OpenRequests
from predictd_server.serving.pending import Part, Pending
from predictd_server.serving.replies import (
    empty_response,
    joined_outputs,
    joined_response,
    kept_response,
    response_frames,
    split_run,
)
from predictd_server.serving.shared_answers import SharedAnswers
from predictd_server.serving.whole_replies import whole_replies

Reply = tuple[bytes, list[Buffer]]


class Answers:
    """Replies to send.

    Args:
        open_requests: Where requests are taken out of.
        admission: Likewise.
        shared: Who waits for an answer too, and what is kept.
        counters: Where the ends of requests are counted.

    Attributes:
        replies: What to send.
    """

    def __init__(
        self, open_requests: OpenRequests, admission: Admission, shared: SharedAnswers, counters: Counters
    ) -> None:
        self._open = open_requests
        self._admission = admission
        self._shared = shared
        self._counters = counters
        self.replies: list[Reply] = []

    # --- without a run ----------------------------------------------------------------------------------------------

    def put(self, peer: bytes, frames: list[Buffer]) -> None:
        """Send a message."""
        self.replies.append((peer, frames))

    def error(self, peer: bytes, request_id: int | None, error: PredictdError) -> None:
        """Answer with an error."""
        self.replies.append((peer, encode(ErrorResponse.from_error(request_id, error))))

    def empty(self, request: Pending) -> None:
        """Answer a request of no rows.

        Raises:
            InvalidRequestError: The shape of an output depends on the rows, and there are none.
        """
        self.replies.append((request.peer, empty_response(request)))
        self._counters.requests_ok_total += 1

    def kept(self, request: Pending, outputs: tuple[Tensor, ...], closed_by: str) -> None:
        """Answer a request with outputs that were kept."""
        self.replies.append((request.peer, kept_response(request, outputs, self._admission.rows, closed_by)))
        self._counters.requests_ok_total += 1

    def expire(self, now: float, request: Pending) -> None:
        """Answer a request whose time was up before it ran."""
        if _is_kept(request):
            self.release(request)
        else:
            self._counters.requests_expired_total += 1
            self.error(request.peer, request.id, refusals.expired(request, now))
            self.drop(request)

    def release(self, request: Pending) -> bool:
        """Let go of work that is kept; return whether that ends it: another that waits for the same may have it."""
        is_over = self.drop(request)
        self._counters.requests_released_total += is_over
        return is_over

    def abandon(self, error: PredictdError) -> None:
        """Answer everything that was admitted and has no answer yet with an error."""
        for request in list(self._open):
            if not _is_kept(request):
                self.error(request.peer, request.id, error)
            self._close(request)

    def drop(self, request: Pending) -> bool:
        """Close a request that its caller wants no more, unless another that waits for the same takes its work over."""
        is_over = request.flight is None or not self._shared.hand_over(request)
        if is_over:
            self._close(request)
        return is_over

    # --- after a run ------------------------------------------------------------------------------------------------

    def take(self, batch: Batch, run: Run) -> None:
        """Turn what came of a run into replies."""
        if run.error is not None:
            self.fail(run.parts, run.error)
            return
        try:
            whole = None if self._shared.is_shared(run) else whole_replies(run, batch, self._admission.rows)
            requests = split_run(run) if whole is None else []
        except PredictdError as error:
            self.fail(run.parts, error)
            return
        if whole is not None:
            self._answer_whole(whole)
        for request in requests:
            if not request.is_over and request.finished_rows >= request.rows:
                self._answer_joined(request, batch, run)

    def fail(self, parts: Sequence[Part], error: PredictdError) -> None:
        """Answer the requests of a run that failed."""
        for part in parts:
            if part.request.is_over:
                continue
            for request in (*self._shared.fail(part.request), part.request):
                self._counters.requests_failed_total += 1
                if not _is_kept(request):
                    self.error(request.peer, request.id, error)
                self._close(request)

    def _answer_joined(self, request: Pending, batch: Batch, run: Run) -> None:
        is_kept, rows = _is_kept(request), self._admission.rows
        try:
            if is_kept:
                self._shared.settle_kept(request, joined_outputs(request))
                frames: list[Buffer] = []
            elif request.task is not None and request.task.is_joined:
                frames = joined_response(request, request, batch, run, rows)
            else:
                frames = response_frames(request, batch, run, rows)
        except PredictdError as error:
            self.fail([part for part in run.parts if part.request is request], error)
            return
        if request.flight is not None:
            for follower in self._shared.settle(request, joined_outputs(request)):
                self._answer(follower, joined_response(follower, request, batch, run, rows))
        if is_kept:
            self._close(request)
        else:
            self._answer(request, frames)

    def _answer_whole(self, whole: Sequence[tuple[Pending, bytes]]) -> None:
        """Answer requests that ran in one piece and share their answers with nobody: `_answer` of each, in one go."""
        count = byte_count = 0
        replies, remove = self.replies, self._open.remove
        for request, frame in whole:
            if not request.is_over:
                replies.append((request.peer, [frame]))
                request.is_over = True
                remove(request)
                count += 1
                byte_count += request.byte_count
                if request.caller is not None:
                    self._admission.give_back(request)
                if request.flight is not None:
                    self._shared.leave(request)
        self._counters.requests_ok_total += count
        self._admission.finish(byte_count, count)

    def _answer(self, request: Pending, frames: list[Buffer]) -> None:
        self._counters.requests_ok_total += 1
        client_memory.count_outputs(self._counters, request, frames)
        self.replies.append((request.peer, frames))
        self._close(request)

    def _close(self, request: Pending) -> None:
        request.is_over = True
        self._open.remove(request)
        if request.flight is not None or request.task is not None:
            self._shared.leave(request)
        self._admission.finish(request.byte_count)
        self._admission.give_back(request)
        if request.lane is not None and request.next_row < request.rows:
            self._admission.drop(request)


def _is_kept(request: Pending) -> bool:
    """Whether nobody is there to be answered: it is kept for the next run of its task."""
    return request.task is not None and request.task.is_kept
