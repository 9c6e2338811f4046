"""Windows: how much may be in flight at once, where the caller doesn't say.

Owns the numbers and their check. Any thread.
"""

from __future__ import annotations

from predictd_proto.errors import ConfigError

#: Requests of one client that are worked on at once: four connections' worth. It keeps a server's batches full.
DEFAULT_MAX_IN_FLIGHT = 256

#: Requests of one `map` in flight.
DEFAULT_WINDOW = 32

#: More would be a mistake: 256 connections.
MOST = 1 << 14


def check_count(name: str, value: int) -> int:
    """Return a number of requests.

    Raises:
        ConfigError: It is no whole number from 1 up to `MOST`.
    """
    if type(value) is not int or not 1 <= value <= MOST:
        text = f"{name}: expected a whole number from 1 up to {MOST}, got {value!r}"
        raise ConfigError(text)
    return value
