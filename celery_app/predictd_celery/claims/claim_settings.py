"""The claim check's settings, out of the environment and of Celery apps.

Owns names, defaults and checks. It opens nothing. Runs where the claim check is first used.

    app setting                     environment variable           default
    predictd_claim_check_bytes      PREDICTD_CLAIM_CHECK_BYTES     none: arrays travel in messages
    predictd_claim_store            PREDICTD_CLAIM_STORE           none
    predictd_claim_expires_s        PREDICTD_CLAIM_EXPIRES_S       86400, a day

An app's setting goes before the variable. The store is `redis://...`, `rediss://...`, `unix://...` (Redis) or
`file:///directory`. Who only reads claims needs the store and no size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from predictd_proto.errors import ConfigError

#: As long as Celery keeps results.
DEFAULT_EXPIRES_S = 86_400
#: Ten years: a time beyond is a mistake in the unit.
_MAX_EXPIRES_S = 315_360_000

_STORE = "predictd_claim_store"
_CHECK_BYTES = "predictd_claim_check_bytes"
_EXPIRES_S = "predictd_claim_expires_s"
SETTINGS = (_STORE, _CHECK_BYTES, _EXPIRES_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSettings:
    """What is kept out of messages, and where.

    Attributes:
        store: The store's URL; None for none.
        check_bytes: Arrays of this size and above are kept out; None for no array.
        expires_s: Seconds after which the store drops a claim.
    """

    store: str | None = None
    check_bytes: int | None = None
    expires_s: int = DEFAULT_EXPIRES_S

    def __post_init__(self) -> None:
        if self.check_bytes is not None and not self.store:
            message = (
                f"{_CHECK_BYTES} is set, but no {_STORE}: say where arrays are kept, "
                "such as redis://host:6379/1 or file:///srv/claims"
            )
            raise ConfigError(message)
        if self.check_bytes is not None and self.check_bytes < 1:
            message = f"{_CHECK_BYTES}: expected a number of bytes from 1 on, got {self.check_bytes}"
            raise ConfigError(message)
        if not 1 <= self.expires_s <= _MAX_EXPIRES_S:
            message = f"{_EXPIRES_S}: expected seconds from 1 to {_MAX_EXPIRES_S}, got {self.expires_s}"
            raise ConfigError(message)


def claim_settings(app_settings: Mapping[str, Any], environ: Mapping[str, str]) -> ClaimSettings:
    """Return the settings.

    Raises:
        ConfigError: One is wrong; the text names it.
    """
    found = {name: _given(app_settings.get(name), environ.get(name.upper())) for name in SETTINGS}
    return ClaimSettings(
        store=found[_STORE],
        check_bytes=None if found[_CHECK_BYTES] is None else _whole_number(_CHECK_BYTES, found[_CHECK_BYTES]),
        expires_s=_whole_number(_EXPIRES_S, _given(found[_EXPIRES_S], DEFAULT_EXPIRES_S)),
    )


def is_given(value: object) -> bool:
    """Whether a setting says something: 0 does."""
    return value is not None and value != ""


def _given(*values: Any) -> Any:
    return next(filter(is_given, values), None)


def _whole_number(name: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        message = f"{name}: expected a whole number, got {value!r}"
        raise ConfigError(message) from error
