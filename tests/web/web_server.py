"""A web server with one of the examples in a process of its own, as tests start and ask it.

Owns one request and its answer; the process is a `Program`. The test's thread.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.pools.program import Program
from tests.ports import free_port

ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: HTTP's.
        headers: By name in small letters.
        body: As it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON, of the kind that every reader takes."""
        return json.loads(self.body, parse_constant=lambda word: f"no JSON: {word}")


class WebServer(Program):
    """A server on a port of its own; up when the constructor returns.

    Args:
        command: The command line for a port.
        directory: Where it runs and logs.
        environment: More of the environment.
    """

    def __init__(self, command: Callable[[int], Sequence[str]], directory: Path, **environment: str) -> None:
        self.port = free_port()
        super().__init__(command(self.port), directory, **environment)
        try:
            self.wait_until(self._is_up, "it answers")
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, body: bytes | None = None, *, method: str | None = None, **headers: str) -> Reply:
        """Send a request: GET without a body, POST with one; `Content_Type` is a header's name here."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, told, response.read())
        finally:
            connection.close()

    def _is_up(self) -> bool:
        try:
            return self.ask("/").status < http.HTTPStatus.INTERNAL_SERVER_ERROR
        except OSError:
            return False
