"""A claim: what stands in a message instead of an array.

Owns its fields, how they are checked when they come from a message, and how it is shown. No I/O. Any thread.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from math import prod
from typing import Any

from predictd_proto.dtypes import DTYPE_BYTES, STRING, Buffer, is_dtype
from predictd_proto.errors import RemoteProtocolError
from predictd_proto.limits import MAX_AXIS, MAX_RANK
from predictd_proto.tensors import Tensor

#: The digest of the content and, where the claim may be deleted, a part that nobody else has.
NAME = re.compile(r"[0-9a-f]{64}(-[0-9a-f]{32})?")
_MAX_BYTES = (1 << 63) - 1
#: The last second of the year 9999: a time beyond it can't be shown.
_MAX_EXPIRES_AT = 253_402_300_799


@dataclass(frozen=True, slots=True)
class Claim:
    """An array in the store.

    Attributes:
        name: SHA-256 of its bytes in hexadecimal digits: the same array is kept once, however many tasks take it.
        dtype: One of the wire's dtypes.
        shape: Axis lengths.
        byte_count: Size of the content.
        expires_at: When the store may drop it, in seconds since 1970.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    byte_count: int
    expires_at: int

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)} ({self.byte_count} bytes)"

    @property
    def is_single_use(self) -> bool:
        """Whether no other task can have the same claim, so that it may be deleted after use."""
        return "-" in self.name

    @property
    def expiry_text(self) -> str:
        """When it expires, for people."""
        return datetime.fromtimestamp(self.expires_at, timezone.utc).isoformat(sep=" ")

    def as_fields(self) -> list[Any]:
        """Return it as it stands in messages."""
        return [self.name, self.dtype, list(self.shape), self.byte_count, self.expires_at]

    @classmethod
    def from_fields(cls, fields: object) -> Claim:
        """Return a claim out of a message.

        Raises:
            RemoteProtocolError: It is none.
        """
        if not isinstance(fields, (list, tuple)) or len(fields) != 5:  # noqa: PLR2004
            message = f"claim in a message: expected name, dtype, shape, size and expiry, got {str(fields)[:80]}"
            raise RemoteProtocolError(message)
        name, dtype, shape, byte_count, expires_at = fields
        if not isinstance(name, str) or not NAME.fullmatch(name):
            message = f"claim in a message: its name is a digest, got {str(name)[:80]!r}"
            raise RemoteProtocolError(message)
        if not isinstance(dtype, str) or not is_dtype(dtype):
            message = f"claim in a message: unknown dtype {str(dtype)[:80]!r}"
            raise RemoteProtocolError(message)
        for text, number, highest in (("size", byte_count, _MAX_BYTES), ("expiry", expires_at, _MAX_EXPIRES_AT)):
            if type(number) is not int or not 0 < number <= highest:
                message = f"claim in a message: its {text} is a whole number, got {str(number)[:80]}"
                raise RemoteProtocolError(message)
        axes = received_shape(shape)
        if dtype != STRING and prod(axes) * DTYPE_BYTES[dtype] != byte_count:
            message = f"claim in a message: {dtype}{list(axes)} doesn't take the {byte_count} bytes that it names"
            raise RemoteProtocolError(message)
        return cls(name, dtype, axes, byte_count, expires_at)

    @classmethod
    def of(cls, tensor: Tensor, *, expires_at: int, is_single_use: bool) -> Claim:
        """Return the claim of a tensor, which is in no store yet."""
        name = digest_of(tensor.data) + (f"-{secrets.token_hex(16)}" if is_single_use else "")
        return cls(name, tensor.dtype, tensor.shape, tensor.byte_count, expires_at)


def digest_of(data: Buffer) -> str:
    """Return what names a content."""
    return hashlib.sha256(data).hexdigest()


def received_shape(shape: object) -> tuple[int, ...]:
    """Return a received shape.

    Raises:
        RemoteProtocolError: It is none.
    """
    if isinstance(shape, (list, tuple)) and len(shape) <= MAX_RANK:
        axes = tuple(shape)
        if all(type(axis) is int and 0 <= axis <= MAX_AXIS for axis in axes):
            return axes
    message = f"array in a message: expected a shape of whole numbers, at most {MAX_RANK}, got {str(shape)[:80]}"
    raise RemoteProtocolError(message)
