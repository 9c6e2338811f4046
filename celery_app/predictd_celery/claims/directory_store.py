"""Claims in a directory that all hosts see, one file each.

Owns the directory's files and modes, and the removal of what has expired. A file's modification time is when it
expires. Any thread, any process, any host: a file appears whole, by a rename, and what is read is verified.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from predictd_celery.claims.claim import NAME, Claim
from predictd_proto.dtypes import Buffer
from predictd_proto.errors import ClaimError, ClaimStoreUnavailableError, ConfigError

#: Between two looks for what has expired, by whichever process.
CLEAN_EVERY_S = 60.0
#: What expired so long ago is removed: longer than a network's directory shows a file's old time to another host (NFS
#: keeps attributes for up to 60 s), so that nobody extends what somebody else removes.
GRACE_S = 120.0
#: When the last look was: this file's modification time.
CLEANED = ".cleaned"
#: A file that is not whole after so long belongs to a writer that is no more.
ABANDONED_S = 3600.0
_PARTIAL = ".partial"
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class DirectoryStore:
    """Claims in a directory.

    Args:
        path: The directory; it is made where it is missing, for its owner alone.
        clock: Seconds since 1970.

    Raises:
        ConfigError: Others may write there, or it is no directory of ours.
        ClaimStoreUnavailableError: It can't be made or read.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._clock = clock
        self._cleaned_at = 0.0
        with self._errors("open", str(self)):
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._path.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            message = (
                f"predictd_claim_store: {path} is user {found.st_uid}'s with mode {stat.filemode(found.st_mode)}; "
                f"expected user {os.geteuid()}'s own, writable by nobody else (chmod go-w)"
            )
            raise ConfigError(message)

    def __str__(self) -> str:
        return f"directory {self._path}"

    def put(self, claim: Claim, data: Buffer, expires_s: int) -> None:
        """Keep a content; one that is there is kept for longer. Removes what has expired, once in a while."""
        path = self._file(claim)
        self._clean_sometimes()
        expires_at = self._clock() + expires_s
        with self._errors("put", f"array {claim}"):
            if _is_extended(path, claim.byte_count, self._clock(), expires_at):
                return
            # Not fsync: after a power cut the task is as lost as its array, and a torn file is noticed by its digest.
            partial = _aside(path)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                with open(descriptor, "wb", buffering=0) as file:
                    _write_all(file.fileno(), data)
                os.utime(partial, (expires_at, expires_at))
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def get(self, claim: Claim) -> Buffer | None:
        """Return a content in memory of its own."""
        with self._errors("get", f"array {claim}"):
            try:
                descriptor = os.open(self._file(claim), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            with open(descriptor, "rb", buffering=0) as file:
                found = os.fstat(descriptor)
                if found.st_mtime <= self._clock():
                    return None
                if not stat.S_ISREG(found.st_mode) or found.st_size != claim.byte_count:
                    return b""
                data = bytearray(claim.byte_count)
                return data if _read_all(file.fileno(), data) == len(data) else b""

    def delete(self, claim: Claim) -> None:
        """Drop a content."""
        with self._errors("delete", f"array {claim}"):
            self._file(claim).unlink(missing_ok=True)

    def remove_expired(self) -> int:
        """Remove what has expired and what was never finished; return how many files."""
        removed = 0
        now = self._clock()
        with os.scandir(self._path) as entries:
            for entry in entries:
                limit = _oldest(entry.name, now)
                # Another process may be at the same.
                with contextlib.suppress(FileNotFoundError):
                    if limit is not None and entry.stat(follow_symlinks=False).st_mtime <= limit:
                        removed += _is_removed(Path(entry.path), limit)
        return removed

    def _clean_sometimes(self) -> None:
        now = self._clock()
        if _is_clean(self._cleaned_at, now):
            return
        marker = self._path / CLEANED
        # Whoever can't remove a file can still put one; the error that counts is put's own.
        with contextlib.suppress(OSError):
            self._cleaned_at = _cleaned_at(marker)
        if _is_clean(self._cleaned_at, now):
            return
        self._cleaned_at = now
        # Each by itself: a full disk may have no room for the marker, and needs the other.
        with contextlib.suppress(OSError):
            _set_cleaned_at(marker, now)
        with contextlib.suppress(OSError):
            self.remove_expired()

    def _file(self, claim: Claim) -> Path:
        # Checked when it was decoded; here it becomes a path, so it is checked here.
        if not NAME.fullmatch(claim.name):
            message = f"claim {claim.name[:80]!r}: its name is no digest"
            raise ClaimError(message)
        return self._path / claim.name

    @contextlib.contextmanager
    def _errors(self, what: str, subject: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in _FULL:
                message = f"can't {what} {subject}: {self} is full ({reason}); make room, or lower the expiry"
            else:
                message = f"can't {what} {subject}: {self} ({reason}); is it there, and ours, on this host?"
            raise ClaimStoreUnavailableError(message) from error


def _oldest(name: str, now: float) -> float | None:
    """Return up to which time a file of that name is to be removed; None for files that aren't ours."""
    if NAME.fullmatch(name):
        return now - GRACE_S
    is_partial = name.endswith(_PARTIAL) and NAME.fullmatch(name.partition(".")[0])
    return now - ABANDONED_S if is_partial else None


def _is_removed(path: Path, limit: float) -> bool:
    """Remove a file, unless somebody has put it anew since it was looked at."""
    if path.name.endswith(_PARTIAL):
        path.unlink()
        return True
    aside = _aside(path)
    path.rename(aside)
    if aside.stat(follow_symlinks=False).st_mtime > limit:
        aside.rename(path)
        return False
    aside.unlink()
    return True


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}{_PARTIAL}")


def _is_clean(cleaned_at: float, now: float) -> bool:
    # A host whose clock was ahead may have left a time that is still to come: nobody would clean until then.
    return 0 <= now - cleaned_at < CLEAN_EVERY_S


def _cleaned_at(marker: Path) -> float:
    try:
        return marker.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0


def _set_cleaned_at(marker: Path, now: float) -> None:
    os.close(os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    os.utime(marker, (now, now), follow_symlinks=False)


def _is_extended(path: Path, byte_count: int, now: float, expires_at: float) -> bool:
    """Let a file that is there stay for longer, or as long; False when there is none, another, or one that expired."""
    try:
        found = path.stat(follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or found.st_size != byte_count or found.st_mtime <= now:
            return False
        if found.st_mtime < expires_at:
            os.utime(path, (expires_at, expires_at), follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _write_all(descriptor: int, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _read_all(descriptor: int, into: bytearray) -> int:
    view = memoryview(into)
    done = 0
    while done < len(into):
        count = os.readv(descriptor, [view[done:]])
        if not count:
            break
        done += count
    view.release()
    return done
