"""The claim check and its stores: arrays put away and brought back verified, and nothing else reached by a message."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import redis

from predictd_celery.claims.claim import Claim, digest_of
from predictd_celery.claims.claim_check import ClaimCheck
from predictd_celery.claims.claim_settings import ClaimSettings
from predictd_celery.claims.directory_store import DirectoryStore
from predictd_celery.claims.redis_store import MAX_VALUE_BYTES, PREFIX, RedisStore
from predictd_celery.claims.stores import ClaimStore
from predictd_proto.errors import (
    ClaimError,
    ClaimExpiredError,
    ClaimStoreUnavailableError,
    RemoteProtocolError,
)
from predictd_proto.tensors import Tensor
from tests.celery.kept_claims import DIGEST, NOW, Clock, kept
from tests.ports import free_port


@pytest.fixture(params=["directory", pytest.param("redis", marks=pytest.mark.redis)])
def store(request: pytest.FixtureRequest, directory: Path, clock: Clock) -> Iterator[ClaimStore]:
    if request.param == "directory":
        yield DirectoryStore(str(directory), clock)
        return
    found = RedisStore.from_url(request.getfixturevalue("redis_url"))
    yield found
    found._client.flushdb()
    found._client.close()


@pytest.fixture
def check(store: ClaimStore, clock: Clock) -> ClaimCheck:
    return ClaimCheck(ClaimSettings(store="its own", check_bytes=100, expires_s=60), store, clock)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(60, dtype=">f4").reshape(3, 20),
        np.arange(200)[::2],
        np.ones((10, 20), np.bool_),
        np.arange(99, dtype=np.float32).astype(ml_dtypes.bfloat16),
        np.array([[b"a" * 50, "ä" * 30]], object),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_comes_back_from_either_store(check: ClaimCheck, array: np.ndarray) -> None:
    back = check.redeemed(kept(check, array))
    assert back.flags.writeable
    assert back.shape == array.shape
    if array.dtype == object:
        assert back.tolist() == [[b"a" * 50, ("ä" * 30).encode()]]
        return
    assert back.dtype.name == array.dtype.name
    np.testing.assert_array_equal(back.astype(np.float32), array.astype(np.float32))


def test_it_may_be_redeemed_again_and_small_ones_are_left_alone(check: ClaimCheck) -> None:
    claim = kept(check, np.arange(100))
    for _ in range(3):
        np.testing.assert_array_equal(check.redeemed(claim), np.arange(100))
    assert check.kept(Tensor.from_array("x", np.zeros(99, np.uint8))) is None
    assert check.kept(Tensor.from_array("x", np.zeros(100, np.uint8))) is not None


def test_the_same_array_is_kept_once_and_a_single_use_has_its_own(check: ClaimCheck) -> None:
    first, second = kept(check, np.arange(100)), kept(check, np.arange(100))
    alone = kept(check, np.arange(100), is_single_use=True)
    assert first.name == second.name == alone.name[:64]
    assert (first.is_single_use, alone.is_single_use) == (False, True)
    check.forget(first)
    check.forget(alone)
    check.forget(alone)
    np.testing.assert_array_equal(check.redeemed(second), np.arange(100))
    with pytest.raises(ClaimExpiredError, match="single use"):
        check.redeemed(alone)


def test_what_is_gone_before_its_time_says_so(check: ClaimCheck) -> None:
    claim = kept(check, np.arange(100))
    check.store.delete(claim)
    with pytest.raises(
        ClaimExpiredError, match=r"array int64\[100\] \(800 bytes\) is not in .* to stay until 2027"
    ) as error:
        check.redeemed(claim)
    assert error.value.detail == {"expires_at": int(NOW) + 60, "bytes": 800}
    assert not error.value.is_retryable


def test_what_has_expired_says_when(check: ClaimCheck, clock: Clock) -> None:
    claim = kept(check, np.arange(100))
    check.store.delete(claim)
    clock.now += 75
    with pytest.raises(ClaimExpiredError, match=r"expired on 2027-01-15 08:01:00\+00:00, 15 s ago: .*no longer has it"):
        check.redeemed(claim)


def test_another_content_under_the_name_is_noticed_and_makes_way(check: ClaimCheck) -> None:
    claim = kept(check, np.arange(100))
    for other in (bytes(800), bytes(801), bytes(10)):
        check.store.delete(claim)
        check.store.put(claim, other, 60)
        with pytest.raises(ClaimError, match=r"something else|is not in"):
            check.redeemed(claim)
        kept(check, np.arange(100))
        np.testing.assert_array_equal(check.redeemed(claim), np.arange(100))


def test_a_claim_with_another_size_deletes_nothing(check: ClaimCheck) -> None:
    claim = kept(check, np.arange(100))
    for count in (1, 99, 101):
        lie = Claim(claim.name, "int64", (count,), 8 * count, claim.expires_at)
        with pytest.raises(ClaimError, match="something else"):
            check.redeemed(lie)
    np.testing.assert_array_equal(check.redeemed(claim), np.arange(100))


@pytest.mark.redis
def test_redis_drops_it_by_itself_and_a_second_put_keeps_it_for_longer(redis_url: str) -> None:
    store = RedisStore.from_url(redis_url)
    check = ClaimCheck(ClaimSettings(store=redis_url, check_bytes=1, expires_s=1000), store)
    claim = kept(check, np.arange(100))
    key = PREFIX + claim.name
    assert 990 <= store._client.ttl(key) <= 1000
    store._client.expire(key, 5)
    kept(check, np.arange(100))
    assert 990 <= store._client.ttl(key) <= 1000
    store._client.pexpire(key, 1)
    while store._client.exists(key):
        pass
    with pytest.raises(ClaimExpiredError):
        check.redeemed(claim)
    store._client.close()


def left_s(store: ClaimStore, claim: Claim, clock: Clock) -> float:
    """Return for how long a store keeps a claim yet."""
    if isinstance(store, RedisStore):
        return float(store._client.ttl(PREFIX + claim.name))
    assert isinstance(store, DirectoryStore)
    return store._file(claim).stat().st_mtime - clock.now


def test_a_shorter_expiry_takes_nothing_from_a_longer_one(store: ClaimStore, clock: Clock) -> None:
    claim = Claim(digest_of(b"12345"), "int8", (5,), 5, 1)
    for expires_s, expected_s in ((1000, 1000), (60, 1000), (2000, 2000), (5, 2000)):
        store.put(claim, b"12345", expires_s)
        assert expected_s - 10 <= left_s(store, claim, clock) <= expected_s


def test_a_silent_redis_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictd_celery.claims.redis_store.ANSWER_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisStore.from_url(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with pytest.raises(ClaimStoreUnavailableError, match="doesn't answer"):
            store.put(Claim(DIGEST, "int8", (9,), 9, 1), bytes(9), 60)
        silent.setblocking(False)
        with silent.accept()[0], pytest.raises(BlockingIOError):
            silent.accept()


@pytest.mark.redis
def test_no_key_of_others_can_be_named(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("secret", "x")
    with pytest.raises(RemoteProtocolError, match="its name is a digest"):
        Claim.from_fields(["secret", "int8", [1], 1, 1])


@pytest.mark.redis
def test_a_redis_that_is_full_or_gone_is_worth_a_retry(redis_url: str) -> None:
    store = RedisStore.from_url(redis_url)
    claim = Claim(DIGEST, "int8", (9,), 9, 1)
    used = store._client.info("memory")["used_memory"]
    store._client.config_set("maxmemory", used // 2)
    try:
        with pytest.raises(ClaimStoreUnavailableError, match=r"is full.*maxmemory"):
            store.put(claim, bytes(9), 60)
    finally:
        store._client.config_set("maxmemory", 0)
        store._client.close()
    gone = RedisStore.from_url(f"redis://:geheim@127.0.0.1:{free_port()}/3")
    for call in (lambda: gone.get(claim), lambda: gone.put(claim, bytes(9), 60), lambda: gone.delete(claim)):
        with pytest.raises(ClaimStoreUnavailableError, match=r"database 3 doesn't answer.*is it running\?") as error:
            call()
        assert "geheim" not in str(error.value)


@pytest.mark.redis
def test_a_wrong_password_is_worth_none(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("requirepass", "right")
        try:
            wrong = RedisStore.from_url(redis_url.replace("redis://", "redis://:wrong@"))
            with pytest.raises(ClaimError, match="another password") as error:
                wrong.get(Claim(DIGEST, "int8", (9,), 9, 1))
            assert not error.value.is_retryable
        finally:
            client.config_set("requirepass", "")


class NineBytes(bytes):
    """Says that it is larger than it is: half a gigabyte would take a second to make."""

    def __len__(self) -> int:
        return MAX_VALUE_BYTES + 1


def test_what_redis_can_t_hold_is_said_before_it_is_sent() -> None:
    store = RedisStore.from_url("redis://127.0.0.1:1")
    with pytest.raises(ClaimError, match="take a directory"):
        store.put(Claim(DIGEST, "int8", (9,), 9, 1), NineBytes(9), 60)
