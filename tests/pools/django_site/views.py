"""The project's only view: `GET /?row=5`."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from tests.pools import asker


def scores(request: HttpRequest) -> HttpResponse:
    """Answer one request."""
    row = request.GET.get("row")
    return HttpResponse("up") if row is None else JsonResponse(asker.ask(int(row)))


urlpatterns = [path("", scores)]
