"""Record and replay: a real daemon's answers in a file, given again without one.

Owns the two servers that do it, and when a file is written. What is in the file is `recording.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from predictd.testing.blocks import as_block
from predictd.testing.daemon import FakeServer
from predictd.testing.homes import default_test_endpoint
from predictd.testing.models import FakeModel
from predictd.testing.recording import Recording, response_of
from predictd.testing.serving import serve_in_process, serve_on_sockets
from predictd.testing.upstream import Upstream
from predictd_proto.endpoints import ENDPOINT_VARIABLE, Endpoint, default_endpoint
from predictd_proto.errors import ConfigError, PredictdError, RetryableError
from predictd_proto.messages import PredictRequest, PredictResponse

Mode = Literal["all", "once", "new"]


class CassetteServer(FakeServer):
    """A fake that answers from a recording, and where it has a daemon behind it, adds to the recording.

    Args:
        recording: The answers.
        name: The file's name, for error texts.
        upstream: The real daemon; None for none.

    Attributes:
        recording: Likewise.
    """

    def __init__(self, recording: Recording, name: str, upstream: Upstream | None = None) -> None:
        super().__init__(endpoint=default_test_endpoint(), limits=recording.limits)
        self.recording = recording
        self._name = name
        self._upstream = upstream
        for metadata in recording.models:
            self.models.put(FakeModel.from_metadata(metadata))

    def answer(self, request: PredictRequest) -> PredictResponse:
        """Return the answer to a request that no fault has struck.

        Raises:
            InvalidRequestError: Nobody recorded it.
            PredictdError: It was answered with an error.
        """
        call = self.recording.find(request)
        if call is not None:
            return response_of(request, call)
        if self._upstream is None:
            # A model that is not there, or not ready, is told as any server tells it.
            self.models.find(request)
            raise self.recording.unknown(request, self._name)
        answer: PredictResponse | PredictdError
        try:
            answer = self._upstream.ask(request)
        except RetryableError:
            raise  # a moment's trouble is nothing to remember
        except PredictdError as error:
            answer = error
        # With the receipt of a replay, or large inputs would be cut into other requests then.
        return response_of(request, self.recording.add(request, answer))


@as_block
def record(
    path: str | os.PathLike[str], *, endpoint: str | None = None, mode: Mode = "all", in_process: bool = False
) -> Iterator[FakeServer]:
    """Pass every request on to a real daemon for the length of a block, and keep what it answers in a file.

    The file is written when the block has ended well: a test that failed leaves it as it was. Retryable errors are
    passed on, but not kept. A question that was asked before is answered from the file, and receipts are a fake's.

    Args:
        path: The file, `calls.predictd` for instance; it belongs into version control.
        endpoint: Where the real daemon listens; None for the default (`PREDICTD_ENDPOINT`, else the user's own).
        mode: "all" records everything anew; "once" replays where the file exists, and needs no daemon then; "new"
            replays what the file holds and adds the rest.
        in_process: Without sockets, for this process alone.

    Raises:
        ConfigError: The mode or the file is wrong.
        ServerUnavailableError: There is nobody to record.

    Examples:
        >>> with record("calls.predictd", mode="once"):  # doctest: +SKIP
        ...     predictd.RemoteModel("digits").predict(x)
    """
    file = Path(path)
    if mode not in {"all", "once", "new"}:
        text = f"record: mode: expected 'all', 'once' or 'new', got {mode!r}"
        raise ConfigError(text)
    if mode == "once" and file.exists():
        with replay(file, in_process=in_process) as server:
            yield server
        return
    real = _real(endpoint)
    upstream = Upstream(real)
    with ExitStack() as stack:
        stack.callback(upstream.close)
        calls = Recording.load(file).calls if mode == "new" and file.exists() else {}
        recording = Recording(upstream.models(), upstream.limits, dict(calls))
        server = CassetteServer(recording, str(file), upstream)
        stack.enter_context(_served(server, in_process=in_process, spared=frozenset((real.data, real.control))))
        yield server
        recording.save(file, is_added=mode == "new")
    server.check()


@as_block
def replay(path: str | os.PathLike[str], *, in_process: bool = False) -> Iterator[FakeServer]:
    """Answer from a file that `record` wrote, without a daemon, for the length of a block.

    Args:
        path: The file.
        in_process: Without sockets, for this process alone.

    Raises:
        ConfigError: There is no such file, or it can't be read.
    """
    file = Path(path)
    server = CassetteServer(Recording.load(file), str(file))
    with _served(server, in_process=in_process, spared=frozenset()):
        yield server
    server.check()


def _real(endpoint: str | None) -> Endpoint:
    named = os.environ.get(ENDPOINT_VARIABLE, "") if endpoint is None else endpoint
    if "," in named:
        text = (
            f"record: expected the one daemon that is to be recorded, got several: {named!r}. Name one: "
            f"record(..., endpoint={named.split(',')[0].strip()!r})"
        )
        raise ConfigError(text)
    return default_endpoint() if endpoint is None else Endpoint.parse(endpoint)


@contextmanager
def _served(server: FakeServer, *, in_process: bool, spared: frozenset[str]) -> Iterator[None]:
    if in_process:
        with serve_in_process(server, is_everywhere=True, spared=spared):
            yield
    else:
        with serve_on_sockets(server, is_announced=True):
            yield
