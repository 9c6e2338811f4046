"""Claims in a directory: whose files they are, when they go, and what is not followed, torn or lost."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd_celery.claims.claim import NAME, Claim, digest_of
from predictd_celery.claims.claim_check import ClaimCheck
from predictd_celery.claims.claim_settings import ClaimSettings
from predictd_celery.claims.directory_store import ABANDONED_S, CLEAN_EVERY_S, CLEANED, GRACE_S, DirectoryStore
from predictd_proto.errors import (
    ClaimError,
    ClaimExpiredError,
    ClaimStoreUnavailableError,
    ConfigError,
    RemoteProtocolError,
)
from tests.celery.kept_claims import DIGEST, NOW, Clock, kept


def files(directory: Path) -> list[str]:
    """Return what is there beside the mark of the last cleaning."""
    return sorted(path.name for path in directory.iterdir() if path.name != CLEANED)


def test_directory_and_files_are_for_their_owner_alone(directory: Path) -> None:
    before = os.umask(0)
    try:
        check = ClaimCheck(ClaimSettings(store="x", check_bytes=1), DirectoryStore(str(directory)))
        claim = kept(check, np.arange(9))
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert files(directory) == [claim.name]
    assert stat.S_IMODE((directory / claim.name).stat().st_mode) == 0o600


def test_a_directory_in_which_others_may_write_is_refused(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(ConfigError, match="writable by nobody else"):
        DirectoryStore(str(directory))


def test_a_directory_that_can_t_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ClaimStoreUnavailableError, match=r"can't open directory .*file/claims"):
        DirectoryStore(str(tmp_path / "file" / "claims"))


def test_files_expire_and_are_removed_and_nothing_else_is(directory: Path, clock: Clock) -> None:
    store = DirectoryStore(str(directory), clock)
    check = ClaimCheck(ClaimSettings(store="x", check_bytes=1, expires_s=60), store, clock)
    old = kept(check, np.arange(9))
    single = kept(check, np.arange(9), is_single_use=True)
    (directory / "notes.txt").write_text("mine")
    left = directory / f"{DIGEST}.0123456789abcdef.partial"
    left.write_bytes(b"x")
    os.utime(left, (NOW - ABANDONED_S, NOW - ABANDONED_S))
    young = directory / f"{DIGEST}.fedcba9876543210.partial"
    young.write_bytes(b"x")
    os.utime(young, (NOW + 50, NOW + 50))
    for name in ("notes.txt",):
        os.utime(directory / name, (1, 1))
    clock.now += 30
    kept(check, np.arange(9))  # stays for longer
    clock.now += 40
    with pytest.raises(ClaimExpiredError):
        check.redeemed(single)
    np.testing.assert_array_equal(check.redeemed(old), np.arange(9))
    assert clock.now - NOW > CLEAN_EVERY_S
    kept(check, np.arange(7), is_single_use=True)
    assert (directory / single.name).exists()
    clock.now = NOW + 61 + GRACE_S
    new = kept(check, np.arange(8))
    assert not (directory / single.name).exists()
    assert {old.name, new.name, "notes.txt", young.name} < set(files(directory))
    assert not left.exists()


def test_one_process_of_many_cleans(directory: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[DirectoryStore] = []

    def look(store: DirectoryStore) -> None:
        looks.append(store)

    monkeypatch.setattr(DirectoryStore, "remove_expired", look)
    for _ in range(3):
        store = DirectoryStore(str(directory), clock)
        for number in range(3):
            store.put(Claim(digest_of(bytes([number])), "int8", (1,), 1, 1), bytes([number]), 60)
    assert len(looks) == 1
    clock.now += CLEAN_EVERY_S
    for _ in range(2):
        another = DirectoryStore(str(directory), clock)
        kept(ClaimCheck(ClaimSettings(store="x", check_bytes=1), another, clock), np.arange(9))
    assert len(looks) == 2


def test_a_mark_of_a_clock_that_is_ahead_stops_no_cleaning(
    directory: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    monkeypatch.setattr(DirectoryStore, "remove_expired", lambda _: looks.append(clock.now))
    store = DirectoryStore(str(directory), clock)
    (directory / CLEANED).touch()
    os.utime(directory / CLEANED, (clock.now + 86400, clock.now + 86400))
    for number in range(3):
        store.put(Claim(digest_of(bytes([number])), "int8", (1,), 1, 1), bytes([number]), 60)
    assert len(looks) == 1


def test_what_is_put_anew_while_it_is_removed_stays(
    directory: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = DirectoryStore(str(directory), clock), DirectoryStore(str(directory), clock)
    check = ClaimCheck(ClaimSettings(store="x", check_bytes=1, expires_s=60), store, clock)
    claim = kept(check, np.arange(9))
    clock.now += 61 + GRACE_S
    rename = Path.rename

    def renewed_first(path: Path, target: Path) -> Any:
        monkeypatch.undo()
        other._cleaned_at = clock.now
        other.put(claim, np.arange(9).tobytes(), 60)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", renewed_first)
    assert store.remove_expired() == 0
    np.testing.assert_array_equal(check.redeemed(claim), np.arange(9))


def test_what_has_expired_is_written_anew_and_not_extended(directory: Path, clock: Clock) -> None:
    check = ClaimCheck(
        ClaimSettings(store="x", check_bytes=1, expires_s=60), DirectoryStore(str(directory), clock), clock
    )
    claim = kept(check, np.arange(9))
    before = (directory / claim.name).stat().st_ino
    clock.now += 30
    kept(check, np.arange(9))
    assert (directory / claim.name).stat().st_ino == before
    held = (directory / claim.name).open("rb")
    clock.now += 60
    kept(check, np.arange(9))
    assert (directory / claim.name).stat().st_ino != before
    held.close()
    np.testing.assert_array_equal(check.redeemed(claim), np.arange(9))


def test_a_link_is_not_followed(directory: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"123456789")
    store = DirectoryStore(str(directory))
    name = digest_of(b"123456789")
    (directory / name).symlink_to(secret)
    claim = Claim(name, "int8", (9,), 9, 1)
    with pytest.raises(ClaimStoreUnavailableError, match="can't get"):
        store.get(claim)
    store.put(claim, b"123456789", 60)
    assert not (directory / name).is_symlink()
    assert bytes(store.get(claim) or b"") == b"123456789"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", "a" * 63, "A" * 64, DIGEST + "-x", DIGEST + "\n"])
def test_a_name_that_is_no_digest_becomes_no_path(directory: Path, name: str) -> None:
    store = DirectoryStore(str(directory))
    for call in (store.get, store.delete, lambda claim: store.put(claim, b"x", 60)):
        with pytest.raises(ClaimError, match="no digest"):
            call(Claim(name, "int8", (1,), 1, 1))


@given(st.text(max_size=100))
def test_no_text_but_a_digest_is_a_name(text: str) -> None:
    if not NAME.fullmatch(text):
        with pytest.raises(RemoteProtocolError):
            Claim.from_fields([text, "int8", [1], 1, 1])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_leaves_nothing_behind(
    directory: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = DirectoryStore(str(directory))
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        if os.fstat(descriptor).st_size:
            raise OSError(number, os.strerror(number))
        return real(descriptor, memoryview(data)[:4])

    monkeypatch.setattr("predictd_celery.claims.directory_store.os.write", write)
    with pytest.raises(ClaimStoreUnavailableError, match=r"is full .*make room"):
        store.put(Claim(DIGEST, "int8", (9,), 9, 1), b"123456789", 60)
    assert files(directory) == []


def test_a_torn_file_is_noticed(directory: Path) -> None:
    check = ClaimCheck(ClaimSettings(store="x", check_bytes=1), DirectoryStore(str(directory)))
    claim = kept(check, np.arange(9))
    path = directory / claim.name
    found = path.stat()
    path.write_bytes(path.read_bytes()[:-1])
    os.utime(path, (found.st_mtime, found.st_mtime))
    with pytest.raises(ClaimError, match="something else"):
        check.redeemed(claim)


def test_many_may_put_the_same_at_once(directory: Path) -> None:
    array = np.random.default_rng(0).random(100_000)
    problems: list[BaseException] = []

    def work() -> None:
        try:
            check = ClaimCheck(ClaimSettings(store="x", check_bytes=1), DirectoryStore(str(directory)))
            for _ in range(5):
                np.testing.assert_array_equal(check.redeemed(kept(check, array)), array)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(files(directory)) == 1
