"""The site's three views: the page, a drawing that becomes a task, and what has become of it.

Owns requests and responses. Nothing here waits for the model: a view enqueues, or looks. Runs in whichever thread or
process the server has for requests.
"""

# Django has no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import logging
from uuid import UUID

import numpy as np
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST, require_safe
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from examples.django_digits.answers import shown
from examples.django_digits.celery import app
from examples.django_digits.drawing import DrawingError, picture, read_strokes
from examples.django_digits.tasks import PATIENCE_S, recognise

logger = logging.getLogger(__name__)
QUEUE_ERRORS = (OperationalError, RedisError)


@require_safe
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """Show the sheet to draw on."""
    response = render(request, "digits.html", {"patience_s": PATIENCE_S})
    response["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
    return response


@require_POST
def enqueue(request: HttpRequest) -> JsonResponse:
    """Make a task of a drawing."""
    try:
        image = picture(read_strokes(request.body))
    except RequestDataTooBig:
        return _failure("The drawing is too large.", status=413)
    except DrawingError as error:
        return _failure(f"This is no drawing: {error}.", status=400)
    try:
        task = recognise.delay(image[np.newaxis])
    except QUEUE_ERRORS:
        return _queue_is_away()
    return JsonResponse({"answer": reverse("answer", args=[task.id]), "image": image.tolist()}, status=202)


@require_GET
@never_cache
def answer(request: HttpRequest, task_id: UUID) -> JsonResponse:
    """Tell how a task stands."""
    try:
        # Once, and not `.state` and `.result` of an AsyncResult: the task may end between the two.
        meta = app.backend.get_task_meta(str(task_id))
    except QUEUE_ERRORS:
        return _queue_is_away()
    return JsonResponse(shown(str(task_id), meta))


def _queue_is_away() -> JsonResponse:
    logger.exception("the broker or the result backend can't be reached")
    response = _failure("The task queue can't be reached. Please try again in a moment.", status=503)
    response["Retry-After"] = "2"
    return response


def _failure(message: str, *, status: int) -> JsonResponse:
    return JsonResponse({"state": "failed", "message": message}, status=status)
