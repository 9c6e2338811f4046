"""The claim check of this process: what is put away, where, and how it comes back verified.

Owns the one state of the room: which apps have said what, and the open store. Nothing is opened before first use; a
child that was forked from a process with an open store opens its own. Any thread.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from predictd_celery.claims.claim import Claim, digest_of
from predictd_celery.claims.claim_settings import SETTINGS, ClaimSettings, claim_settings, is_given
from predictd_celery.claims.stores import ClaimStore, open_store
from predictd_proto.errors import ClaimError, ClaimExpiredError, ConfigError
from predictd_proto.tensors import Tensor, check_data


class ClaimCheck:
    """Puts arrays into a store and brings them back.

    Args:
        settings: What is kept out of messages, and where.
        store: The store; None opens the settings' own at first use.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        settings: ClaimSettings,
        store: ClaimStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._store = store
        self._clock = clock

    @property
    def store(self) -> ClaimStore:
        """The open store.

        Raises:
            ConfigError: None is set.
            ClaimStoreUnavailableError: It can't be reached.
        """
        if self._store is None:
            if not self.settings.store:
                message = (
                    "a message refers to an array in a claim store, but no store is set here: set predictd_claim_store "
                    "(or PREDICTD_CLAIM_STORE) to the same as where the message comes from"
                )
                raise ConfigError(message)
            self._store = open_store(self.settings.store)
        return self._store

    def kept(self, tensor: Tensor, *, is_single_use: bool = False) -> Claim | None:
        """Put a tensor away if it is large enough; return its claim, or None when it travels in the message.

        Args:
            tensor: The array's bytes.
            is_single_use: Give it a claim of its own, which may be deleted after use.

        Raises:
            ClaimError: It could not be put away.
        """
        least = self.settings.check_bytes
        if least is None or tensor.byte_count < least:
            return None
        expires_at = int(self._clock()) + self.settings.expires_s
        claim = Claim.of(tensor, expires_at=expires_at, is_single_use=is_single_use)
        self.store.put(claim, tensor.data, self.settings.expires_s)
        return claim

    def redeemed(self, claim: Claim) -> NDArray[Any]:
        """Return the array of a claim, which may be written to. The claim stays: a task may run again.

        Raises:
            ClaimExpiredError: It is gone.
            ClaimError: What is there is something else.
            ClaimStoreUnavailableError: The store can't be asked now.
        """
        data = self.store.get(claim)
        if data is None:
            raise ClaimExpiredError(self._why_gone(claim), {"expires_at": claim.expires_at, "bytes": claim.byte_count})
        has_size = len(data) == claim.byte_count
        if not has_size or digest_of(data) != claim.name[:64]:
            # The next one who has the array puts it there again. Not for a wrong size, which may be the message's lie.
            if has_size:
                self.store.delete(claim)
            message = f"array {claim}: what {self.store} has under its claim is something else; send the task again"
            raise ClaimError(message)
        tensor = Tensor("claim", claim.dtype, claim.shape, data)
        check_data(tensor)
        view = tensor.view()
        return view if view.flags.writeable else view.copy()

    def forget(self, claim: Claim) -> None:
        """Delete a single-use claim; others stay, whoever else has them may still come."""
        if claim.is_single_use:
            self.store.delete(claim)

    def _why_gone(self, claim: Claim) -> str:
        late_s = self._clock() - claim.expires_at
        if late_s >= 0:
            return (
                f"array {claim} expired on {claim.expiry_text}, {late_s:.0f} s ago: {self.store} no longer has it; "
                "send the task again, and raise predictd_claim_expires_s where tasks wait for longer"
            )
        return (
            f"array {claim} is not in {self.store}, though it was to stay until {claim.expiry_text}: this is another "
            "store than its sender's, or one that was emptied or evicts (Redis' maxmemory-policy), or the claim was "
            "for a single use"
        )


_apps: weakref.WeakSet[Any] = weakref.WeakSet()
#: The process that made it, and what it made.
_current: tuple[int, ClaimCheck] | None = None


def claim_check() -> ClaimCheck:
    """Return this process' claim check; its settings are read at the first call.

    Raises:
        ConfigError: A setting is wrong.
    """
    global _current  # noqa: PLW0603  (serializers are functions: there is nobody to hand it in)
    current = _current
    if current is not None and current[0] == os.getpid():
        return current[1]
    # Threads that come here at once make one each, which does no harm; a lock might be held while the process forks.
    made = ClaimCheck(claim_settings(_settings_of_apps(), os.environ))
    _current = (os.getpid(), made)
    return made


def use_claim_check(app: Any) -> None:
    """Let a Celery app's settings (`predictd_claim_...`) hold for this process; they are read at first use.

    Apps with an `ArrayTask` do so by themselves.
    """
    global _current  # noqa: PLW0603
    _apps.add(app)
    _current = None


def _settings_of_apps() -> Mapping[str, Any]:
    different: list[dict[str, Any]] = []
    for app in _apps:
        settings = {name: app.conf.get(name) for name in SETTINGS if is_given(app.conf.get(name))}
        if settings and settings not in different:
            different.append(settings)
    if len(different) > 1:
        message = f"two Celery apps of this process have different claim settings, expected one: {different}"
        raise ConfigError(message)
    return different[0] if different else {}
