"""Bounds on everything that a peer can make grow.

Owns the numbers and their reasons. The server announces its own `Limits` in the handshake; the client checks them
before it sends. The constants belong to the protocol itself and are the same for every peer. Any thread may use it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Tensors up to this size travel inside the header. A bare echo, 32 requests in flight, 2 cores, echoes/s with the data
#: inside and beside the header: 256 B 90,000 and 69,000; 4 KiB 84,000 and 50,000; 16 KiB 63,000 and 44,000; 64 KiB
#: 22,000 to 26,000 either way. (msgpack copies 16 KiB in 0.8 microseconds.)
INLINE_TENSOR_BYTES = 16384

#: Axes of a tensor: as many as every release of numpy in use can hold.
MAX_RANK = 32

#: Longest axis. Whole numbers of this size are exact in every language, a double's 53 bits included.
MAX_AXIS = (1 << 48) - 1

#: Request ids, counts and versions.
MAX_ID = (1 << 63) - 1

#: Characters of a name or a short text, and of an error's message.
MAX_TEXT = 256
MAX_MESSAGE_TEXT = 8192

#: Items of one list and keys of one map in a header, unless more tensors are allowed. A reader allocates a list from
#: its announced length: a thousand nested lists that each claim this many items cost 8 MB, and 3 KB to send.
MAX_LIST_ITEMS = 1024

#: Maps, lists, and what they hold, in one header. The smallest item is one byte on the wire and some 64 in memory.
MAX_HEADER_ITEMS = 1 << 17

#: Upper bound of each of the `Limits`.
_HIGHEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one message may hold.

    Attributes:
        max_tensors: Tensors in one request; each is one frame at most, so this also bounds the frames.
        max_header_bytes: Size of the header frame, inline tensors included (64 inline tensors fit).
        max_request_bytes: Sum of all frames of one message.
        max_rank: Axes of one tensor; at most `MAX_RANK`. Above it a tiny header could describe a huge product.
        max_rows: Length of axis 0 of one request.
    """

    max_tensors: int = 64
    max_header_bytes: int = 2 << 20
    max_request_bytes: int = 1 << 30
    max_rank: int = 16
    max_rows: int = 1 << 24

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            most = MAX_RANK if name == "max_rank" else _HIGHEST
            if type(value) is not int or not 1 <= value <= most:
                text = f"limit {name}: expected a whole number from 1 to {most}, got {value!r}"
                raise ValueError(text)


DEFAULT_LIMITS = Limits()
