"""What a claim store is, and which one a URL names.

Owns the interface. Opens nothing but what it is asked for. Any thread.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import unquote, urlsplit

from predictd_celery.claims.claim import Claim
from predictd_proto.dtypes import Buffer
from predictd_proto.errors import ConfigError

_REDIS_SCHEMES = frozenset(("redis", "rediss", "unix"))


class ClaimStore(Protocol):
    """Where claims are. `str()` of it names it in errors, without its password."""

    def put(self, claim: Claim, data: Buffer, expires_s: int) -> None:
        """Keep a content for some seconds; one that is there already is kept for longer.

        Raises:
            ClaimStoreUnavailableError: It can't be kept now.
            ClaimError: It can't be kept at all.
        """

    def get(self, claim: Claim) -> Buffer | None:
        """Return a content, or None when it is gone; at most one byte more than the claim names is read.

        Raises:
            ClaimStoreUnavailableError: The store can't be asked now.
        """

    def delete(self, claim: Claim) -> None:
        """Drop a content, if it is there."""


def open_store(url: str) -> ClaimStore:
    """Return the store that a URL names.

    Raises:
        ConfigError: It names none.
        ClaimError: It can't be used.
    """
    parts = urlsplit(url)
    if parts.scheme in _REDIS_SCHEMES:
        from predictd_celery.claims.redis_store import RedisStore

        return RedisStore.from_url(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        from predictd_celery.claims.directory_store import DirectoryStore

        return DirectoryStore(unquote(parts.path))
    # Not the URL itself: it may hold a password.
    message = (
        f"predictd_claim_store: expected redis://..., rediss://..., unix://... or file:///directory, "
        f"got a URL that begins with {url[:5]!r}"
    )
    raise ConfigError(message)
