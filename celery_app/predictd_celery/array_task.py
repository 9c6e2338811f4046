"""The base of tasks that take or return arrays, through JSON or the serializer `predictd`.

Owns what becomes of arguments when a task is enqueued and when it starts, and of its result. It asks no daemon. The
arrays are fetched and opened in the thread that runs the task; nothing of it runs in a worker's parent.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NoReturn

from celery import Signature, Task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.signals import celeryd_after_setup
from kombu.exceptions import OperationalError

from predictd_celery.claimed_trees import claimed_leaf, claims_in, enveloped, with_claims
from predictd_celery.claims.claim_check import claim_check, use_claim_check
from predictd_celery.config import max_retries, retry_policy
from predictd_celery.control_replies import reply_in_json
from predictd_celery.deadlines import seconds_until
from predictd_celery.json_types import accept_numpy_in_json
from predictd_celery.kombu_serializer import register
from predictd_celery.retries import longest_delay_s
from predictd_celery.short_repr import short_repr
from predictd_celery.shown_request import came_in
from predictd_celery.successors import successors
from predictd_celery.tensor_json import (
    decode_arrays,
    encode_arrays,
    enveloped_leaf,
    listed_leaf,
    own_arrays,
    plain_leaf,
)
from predictd_celery.trees import map_leaves
from predictd_proto.errors import ClaimError, PredictdError, RetryableError
from predictd_proto.facts import safe_facts

#: Serializers that carry arrays by themselves.
ARRAY_SERIALIZERS = frozenset(("pickle", "predictd"))
#: A task whose retry can't be sent now comes again at once, and would find things as they were. So it waits for its
#: retry's delay first, but no longer than this: a hard limit that comes meanwhile fails it.
LONGEST_PAUSE_S = 2.0

accept_numpy_in_json()
register()
celeryd_after_setup.connect(reply_in_json)


class ArrayTask(Task):  # type: ignore[misc]  # Celery has no types
    """Base of a task that takes or returns arrays.

    Where the app has a claim store, arrays of its size and above never get into the broker. The task gets arrays,
    whatever came; events and logs show their dtypes and shapes.

    Attributes:
        delete_claims: Delete what its arguments had in the claim store when the task has succeeded, instead of waiting
            for the expiry. Its arguments then get claims of their own: what another task has put there stays. A task
            that runs a second time, since its worker died in the wrong moment, then fails.
        resultrepr_maxsize: Characters of the result in events and logs.
        retry_policy: How long to wait before a retry.
        max_retries: How many there are, as in any task; None for no end.
    """

    abstract = True
    Request = "predictd_celery.shown_request:ShownRequest"
    delete_claims = False
    resultrepr_maxsize = 256
    retry_policy = retry_policy()
    max_retries: int | None = max_retries()

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Let the app's claim settings hold."""
        use_claim_check(app)

    def apply_async(self, args: Any = None, kwargs: Any = None, *positional: Any, **options: Any) -> Any:
        """Enqueue the task; arrays among the arguments are put away, or into envelopes where the message is JSON.

        Raises:
            ClaimError: An array could not be put away.
        """
        args, kwargs = with_claims((args, kwargs), is_single_use=self.delete_claims)
        options.setdefault("argsrepr", short_repr(args or ()))
        options.setdefault("kwargsrepr", short_repr(kwargs or {}))
        if not self._carries_arrays(options):
            args, kwargs = encode_arrays(args), encode_arrays(kwargs)
        return super().apply_async(args, kwargs, *positional, **options)

    def signature(self, args: Any = None, *positional: Any, **words: Any) -> Any:
        """Return a signature whose arrays can go along in JSON, inside of whichever message it is sent.

        Raises:
            ClaimError: An array could not be put away.
        """
        made = super().signature(args, *positional, **words)
        if not self._carries_arrays(made.options):
            # Not for a single use: a signature may be sent many times.
            made["args"] = tuple(map(_travelling, made.args))
            made["kwargs"] = {name: _travelling(value) for name, value in made.kwargs.items()}
        return made

    subtask = signature

    def signature_from_request(
        self, request: Any = None, args: Any = None, kwargs: Any = None, queue: Any = None, **options: Any
    ) -> Any:
        """Return the signature of a retry. What came goes in the serializer that it came in, which can write it."""
        request = self.request if request is None else request
        if args is None and kwargs is None and (serializer := came_in(request)):
            options.setdefault("serializer", serializer)
        return super().signature_from_request(request, args, kwargs, queue, **options)

    def _carries_arrays(self, options: dict[str, Any]) -> bool:
        serializer = options.get("serializer") or self.serializer or self.app.conf.task_serializer
        return serializer in ARRAY_SERIALIZERS

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task with its arrays opened."""
        request = self.request
        # As Celery's own protection of its stack has it: only the call that the worker makes is the task's.
        if request.called_directly or request._protected:
            return super().__call__(*decode_arrays(args), **decode_arrays(kwargs))
        request._protected = 1
        try:
            # The request keeps the claims, and the arrays as they came: a retry sends these, not what the task has made
            # of its own.
            return self._storable(self.run(*own_arrays(args), **own_arrays(kwargs)))
        except ClaimError as error:
            # JSON result backends keep an exception's `args` and nothing else.
            error.args = (error.message, safe_facts(error.detail))
            if isinstance(error, RetryableError):
                self.retry_later(error)
            raise

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Delete the arguments' claims where that is asked for; a store that is away has its expiry."""
        if self.delete_claims:
            try:
                for claim in claims_in((args, kwargs)):
                    claim_check().forget(claim)
            except ClaimError:
                return

    def unpacked(self, value: Any) -> Any:
        """Return what is stored of something that a task returns, alone or among others; a subclass may know more."""
        return value

    def _storable(self, result: Any) -> Any:
        """Return a result as it is stored, and handed to the next task."""
        is_json = self.app.conf.result_serializer not in ARRAY_SERIALIZERS
        write = self._result_leaf(is_json=is_json)

        def leaf(value: Any) -> Any:
            inner = self.unpacked(value)
            return write(value) if inner is value else map_leaves(inner, leaf, as_json=is_json)

        return map_leaves(result, leaf, as_json=is_json)

    def _result_leaf(self, *, is_json: bool) -> Callable[[Any], Any]:
        request = self.request
        takers = successors(request)
        if not takers and (request.ignore_result or self.ignore_result):
            return _as_it_is
        if not takers and request.is_eager:
            # Who will take it isn't known: a chain asks for the result, as anybody does, and hands it on.
            return listed_leaf if is_json else _as_it_is
        # Other tasks get what any reader gets. A task of ours, which would see float64 for all, gets arrays.
        keeps_arrays = bool(takers) and all(isinstance(self.app.tasks.get(name), ArrayTask) for name in takers)
        write = (enveloped_leaf if keeps_arrays else plain_leaf) if is_json else _as_it_is
        # Here and not in the serializer: there a store that is away would cost the task its answer.
        put_away = None if request.is_eager else claimed_leaf()
        return write if put_away is None else lambda value: write(put_away(value))

    @property
    def _is_called_here(self) -> bool:
        """Whether no worker runs it: Celery would run a retry here and now, without its delay."""
        return bool(self.request.called_directly or self.request.is_eager)

    def retry_later(self, error: PredictdError) -> NoReturn:
        """Enqueue the task again; raise the error where that is pointless: no worker, no time, no retries left.

        Where the broker, or the claim store, takes no retry now: leave the task itself in the queue under `acks_late`.
        Where none can be sent at all, or without `acks_late`: raise the error.
        """
        request = self.request
        if self._is_called_here:
            raise error
        longest_s = longest_delay_s(self.app.conf)
        delay_s = self.retry_policy.delay_s(error, request.retries, random.random(), longest_s=longest_s)
        remaining_s = seconds_until(request.expires, datetime.now(timezone.utc))
        if remaining_s is not None and remaining_s <= delay_s:
            # Celery would drop it as expired, and the reason with it.
            raise error
        try:
            raise self.retry(exc=error, countdown=delay_s)
        except (Reject, PredictdError) as unsent:
            # Left to Celery, the task would fail with this, and its own error be lost.
            if unsent is error:
                raise
            if not (self.acks_late and _will_pass(unsent)):
                raise error from unsent
            # A limit ends the wait, and not the task.
            with suppress(SoftTimeLimitExceeded):
                time.sleep(min(delay_s, LONGEST_PAUSE_S))
            raise Reject(unsent, requeue=True) from error


def _will_pass(unsent: Reject | PredictdError) -> bool:
    """Whether what kept a retry from being sent may be over the next time."""
    # kombu makes this one error of all that its transports raise about connections.
    return isinstance(getattr(unsent, "reason", unsent), (OperationalError, RetryableError))


def _travelling(value: Any) -> Any:
    # Signatures have seen to their own, and would become plain dicts.
    return value if isinstance(value, Signature) else enveloped(value)


def _as_it_is(value: Any) -> Any:
    return value
