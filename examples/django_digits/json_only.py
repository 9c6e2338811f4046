"""Middleware: what is posted is JSON.

It stands before Django's CSRF check. That looks for a token in `request.POST`, and for a form with files Django then
reads all of the body, into files of any size, before anybody has been asked whether it may be sent. Of JSON it reads
nothing; how much of it a view takes is `DATA_UPLOAD_MAX_MEMORY_SIZE`'s. Runs in whichever thread or process the server
has for requests.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

Views = Callable[[HttpRequest], HttpResponse]


def json_only(get_response: Views) -> Views:
    """Refuse whatever else is posted: 415."""

    def answered(request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and request.content_type != "application/json":
            message = f"Expected application/json, got {request.content_type or 'no content type'}."
            return JsonResponse({"state": "failed", "message": message}, status=415)
        return get_response(request)

    return answered
