"""Claims in Redis, one key each, which Redis drops by itself.

Owns the keys (all under one prefix) and what Redis' errors mean. Any thread: redis-py's pool gives each its connection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, ReadOnlyError, RedisError
from redis.retry import Retry

from predictd_celery.claims.claim import Claim
from predictd_proto.dtypes import Buffer
from predictd_proto.errors import ClaimError, ClaimStoreUnavailableError, ConfigError

PREFIX = "predictd-claim:"
#: What `TTL` says of a key that does not expire.
_FOR_EVER = -1
#: Redis' own limit of a value, unless `proto-max-bulk-len` says another.
MAX_VALUE_BYTES = 512 * 1024 * 1024
#: `delay()` waits in it, in a web server's request perhaps. A Redis that is silent is not asked again.
CONNECT_TIMEOUT_S = 3.0
#: Until the next part of an answer.
ANSWER_TIMEOUT_S = 5.0
#: To send a whole content, to a Redis that has just answered.
SEND_TIMEOUT_S = 30.0
#: Tries after the first where it refuses connections, for a restart's sake: they wait for less than a second in all.
_RETRIES = 3


class RedisStore:
    """Claims in a Redis database.

    Args:
        client: Asks and fetches; connects at first use.
        sender: Sends contents, with time for it; likewise.
    """

    def __init__(self, client: redis.Redis, sender: redis.Redis) -> None:
        self._client = client
        self._sender = sender
        where = client.connection_pool.connection_kwargs
        address = where.get("path") or f"{where.get('host')}:{where.get('port')}"
        self._name = f"Redis at {address}, database {where.get('db') or 0}"

    @classmethod
    def from_url(cls, url: str) -> RedisStore:
        """Return the store of a database; connects to nothing yet.

        Raises:
            ConfigError: redis-py can't read the URL.
        """
        try:
            return cls(_client(url, ANSWER_TIMEOUT_S), _client(url, SEND_TIMEOUT_S))
        except ValueError as error:
            message = f"predictd_claim_store: redis-py can't read the URL: {error}"
            raise ConfigError(message) from error

    def __str__(self) -> str:
        return self._name

    def put(self, claim: Claim, data: Buffer, expires_s: int) -> None:
        """Keep a content; one that is there is not sent again, and expires no sooner than it would have."""
        if len(data) > MAX_VALUE_BYTES:
            message = (
                f"array {claim}: a value in Redis holds {MAX_VALUE_BYTES} bytes; "
                "send parts of it, or take a directory as predictd_claim_store"
            )
            raise ClaimError(message)
        key = _key(claim)
        with self._errors("put", claim):
            with self._client.pipeline(transaction=False) as asked:
                asked.strlen(key)
                asked.ttl(key)
                found_bytes, left_s = asked.execute()
            is_there = found_bytes == len(data)
            # Never to less: another task waits for longer. Redis itself can compare since 7.0 (`EXPIRE GT`).
            if is_there and (left_s == _FOR_EVER or left_s >= expires_s):
                return
            if not is_there or not self._client.expire(key, expires_s):
                self._sender.set(key, memoryview(data), ex=expires_s)

    def get(self, claim: Claim) -> Buffer | None:
        """Return a content."""
        with self._errors("get", claim):
            # The range is from the first to the last byte, inclusive: one more than named, to notice a longer one.
            data: Any = self._client.getrange(_key(claim), 0, claim.byte_count)
        return data or None

    def delete(self, claim: Claim) -> None:
        """Drop a content."""
        with self._errors("delete", claim):
            self._client.delete(_key(claim))

    @contextlib.contextmanager
    def _errors(self, what: str, claim: Claim) -> Iterator[None]:
        try:
            yield
        except (AuthenticationError, AuthorizationError) as error:
            message = (
                f"can't {what} array {claim}: {self} wants another password than predictd_claim_store has ({error})"
            )
            raise ClaimError(message) from error
        except (redis.ConnectionError, redis.TimeoutError, ReadOnlyError, OSError) as error:
            message = f"can't {what} array {claim}: {self} doesn't answer ({error}); is it running?"
            raise ClaimStoreUnavailableError(message) from error
        except RedisError as error:
            # Not by its class, which redis-py has since 5.1 and celery 5.5 goes down to 4.5.2.
            if "maxmemory" in str(error):
                message = f"can't {what} array {claim}: {self} is full ({error}); raise its limit, or lower the expiry"
                raise ClaimStoreUnavailableError(message) from error
            message = f"can't {what} array {claim}: {self} refuses ({error})"
            raise ClaimError(message) from error


def _client(url: str, timeout_s: float) -> redis.Redis:
    # Connections that are refused or cut; not time-outs, which would be waited for again.
    retry = Retry(ExponentialBackoff(cap=0.4, base=0.05), _RETRIES, (redis.ConnectionError,))
    return redis.Redis.from_url(url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=timeout_s, retry=retry)


def _key(claim: Claim) -> str:
    return PREFIX + claim.name
