"""A drawing as the Django example's page sends it, by a visitor with a CSRF token. The test's thread."""

from __future__ import annotations

import json

from tests.web.web_server import Reply, WebServer

DRAWING = json.dumps({"strokes": [[[0, 0], [0, 100]]]}).encode()
#: A visitor's, as `{% csrf_token %}` and its cookie would have it.
TOKEN = "x" * 32


def post(site: WebServer, body: bytes, *, token: str = TOKEN, kind: str = "application/json") -> Reply:
    """Send what may be a drawing."""
    return site.ask("/drawings/", body, Cookie=f"csrftoken={TOKEN}", X_CSRFToken=token, Content_Type=kind)
