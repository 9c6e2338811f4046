"""The handshake's answer, the same on the data and the control socket.

Owns who this server says it is. Pure; used by the pump and the control thread, each with an instance of its own state
passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictd_proto.errors import ProtocolVersionError
from predictd_proto.frames import encode
from predictd_proto.limits import MAX_LIST_ITEMS, Limits
from predictd_proto.messages import ErrorResponse, Hello, Welcome
from predictd_proto.segments import SegmentLimits
from predictd_proto.status import DRAINING, READY, STARTING
from predictd_proto.tensors import Buffer
from predictd_proto.version import choose_version
from predictd_server.models.registry import Registry


@dataclass(frozen=True, slots=True)
class Greeting:
    """Answers `Hello`.

    Attributes:
        server_id: Random per start.
        server: The package's version.
        limits: What one message may hold.
        registry: Knows the models.
    """

    server_id: str
    server: str
    limits: Limits
    registry: Registry

    def state(self, *, is_draining: bool) -> str:
        """Return "starting" until all was tried once and one is ready, then "ready"; "draining" at the end."""
        if is_draining:
            return DRAINING
        return READY if self.registry.has_served and not self.registry.is_starting else STARTING

    def reply(self, hello: Hello, is_draining: bool, segments: SegmentLimits | None) -> list[Buffer]:
        """Return the welcome as frames, or why there is none; the arguments are those of `answer`."""
        try:
            return encode(self.answer(hello, is_draining=is_draining, segments=segments))
        except ProtocolVersionError as error:
            return encode(ErrorResponse.from_error(None, error))

    def answer(self, hello: Hello, *, is_draining: bool, segments: SegmentLimits | None = None) -> Welcome:
        """Return the welcome.

        Args:
            hello: The client's greeting.
            is_draining: Whether new work is refused.
            segments: What is mapped of this client's memory; None for nothing.

        Raises:
            ProtocolVersionError: No version is spoken by both.
        """
        version = choose_version(their_oldest=hello.oldest, their_newest=hello.newest, them="client")
        return Welcome(
            version=version,
            server_id=self.server_id,
            server=self.server,
            state=self.state(is_draining=is_draining),
            limits=self.limits,
            models=self.registry.names()[:MAX_LIST_ITEMS],
            segments=segments if hello.segments else None,
        )
