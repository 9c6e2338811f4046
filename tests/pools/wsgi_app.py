"""A WSGI application of the matrix: `GET /?row=5`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from tests.pools import asker


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer one request."""
    query = parse_qs(environ["QUERY_STRING"])
    body = json.dumps(asker.ask(int(query["row"][0]))).encode() if query else b"up"
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
