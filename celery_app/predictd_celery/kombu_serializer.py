"""The kombu serializer `predictd`: what its entry point registers.

Owns the name, the content type and two functions that load the codec when they are first called. Importing this must
stay free of numpy, kombu and Celery: kombu imports it while it is imported itself, in every process that has both
packages, and an error here would take Celery away from all of them. Any thread.
"""

from __future__ import annotations

from typing import Any

NAME = "predictd"
CONTENT_TYPE = "application/x-predictd"


def dumps(value: Any) -> bytes:
    """Return a value as bytes; arrays above the claim size go to the claim store."""
    from predictd_celery.message_codec import encode

    return encode(value)


def loads(payload: bytes | bytearray | memoryview | str) -> Any:
    """Return what `dumps` was given."""
    from predictd_celery.message_codec import decode

    return decode(payload)


def register() -> None:
    """Let kombu know the serializer where no entry point has: predictd on PYTHONPATH, but not installed."""
    from kombu import serialization

    serialization.register(NAME, *REGISTER_ARGS)  # type: ignore[no-untyped-call]  # kombu has none


#: As `kombu.serialization.register` takes them. "binary": Redis' transport then puts its one base64 around the body and
#: nothing else, AMQP and the result backends carry the bytes as they are.
REGISTER_ARGS = (dumps, loads, CONTENT_TYPE, "binary")
