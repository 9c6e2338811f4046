"""The server's settings: what there is to set, in which unit, and within which bounds.

Owns the one table of settings; where values come from is `settings_sources.py`. Frozen once made; any thread reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from predictd_proto.endpoints import SEPARATOR
from predictd_proto.errors import ConfigError
from predictd_proto.limits import Limits
from predictd_server.ladder import batch_ladder


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting's description.

    Attributes:
        name: Its key in the file; `PREDICTD_<NAME>` in the environment, `--<name>` with dashes on the command line.
        kind: bool, int, float or str.
        default: Its value where nothing sets it.
        help: One line, with the unit.
        low: Smallest value allowed.
        high: Largest value allowed.
        choices: The values allowed, where they are few.
    """

    name: str
    kind: type
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return f"PREDICTD_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    def check(self, value: object, origin: str) -> Any:
        """Return the value in the setting's type.

        Raises:
            ConfigError: It is of another type or out of bounds; the text names the origin.
        """
        wanted = float if self.kind is float and type(value) is int else self.kind
        converted = float(value) if wanted is float and isinstance(value, int) else value
        if type(converted) is not self.kind or not self._is_within(converted):
            text = f"{origin}: {self.name} = {value!r}: expected {self.expectation}"
            raise ConfigError(text)
        return converted

    def parse(self, text: str, origin: str) -> Any:
        """Return a text, as the environment and the command line give it, in the setting's type.

        Raises:
            ConfigError: It can't be read as that.
        """
        value: object = text
        try:
            if self.kind is bool:
                value = _BOOLS[text.strip().lower()]
            elif self.kind is not str:
                value = self.kind(text)
        except (ValueError, KeyError):
            message = f"{origin}: {self.name} = {text!r}: expected {self.expectation}"
            raise ConfigError(message) from None
        return self.check(value, origin)

    @property
    def expectation(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[self.kind]
        if self.low is not None and self.high is not None:
            return f"{words} from {self.low:g} to {self.high:g}"
        return words if self.low is None else f"{words} of at least {self.low:g}"

    def _is_within(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if self.low is not None and not value >= self.low:
            return False
        return self.high is None or bool(value <= self.high)


_BOOLS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_MOST_ROWS = 1 << 24
_MOST_BYTES = 1 << 40

SETTINGS: tuple[Setting, ...] = (
    Setting("endpoint", str, "", "Where to listen: ipc:///path or tcp://127.0.0.1:port (default: one socket per user)"),
    Setting("max_batch_size", int, 64, "Most rows in one run", 1, 65536),
    Setting("max_batch_bytes", int, 16 << 20, "Most input bytes in one run of several rows", 1, _MOST_BYTES),
    Setting(
        "batch_timeout_ms", float, 0.0, "Batch window: how long an idle engine waits for company, in ms", 0, 60_000
    ),
    Setting("inline_ms", float, 2.0, "Runs expected to be shorter than this many ms run on the pump's thread", 0, 1000),
    Setting(
        "max_queue_rows",
        int,
        16384,
        "Rows that may wait (of one request at most a batch counts); more are refused as overloaded",
        1,
        _MOST_ROWS,
    ),
    Setting("max_queue_bytes", int, 1 << 30, "Bytes that admitted requests may hold", 1, _MOST_BYTES),
    Setting("max_request_bytes", int, 1 << 30, "Largest request in bytes", 1024, _MOST_BYTES),
    Setting("max_rows", int, 1 << 20, "Largest request in rows", 1, _MOST_ROWS),
    Setting("max_timeout_ms", float, 300_000.0, "Longest that a request may wait, in ms", 1, 86_400_000),
    Setting("drain_timeout_s", float, 20.0, "On SIGTERM: how long to finish what was admitted, in s", 0, 3600),
    Setting("stuck_after_s", float, 120.0, "A run longer than this ends the process (exit code 70), in s", 1, 86_400),
    Setting("intra_op_threads", int, 0, "Threads within one TensorFlow operation; 0 means one per usable CPU", 0, 1024),
    Setting("inter_op_threads", int, 0, "Threads across TensorFlow operations; 0 lets TensorFlow choose", 0, 1024),
    Setting("memory_growth", bool, True, "Take GPU memory as needed instead of all at once"),
    Setting("deterministic", bool, False, "Ask TensorFlow for deterministic operations"),
    Setting("log_level", str, "info", "How much to log", choices=("debug", "info", "warning", "error")),
)
BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All effective settings.

    Attributes:
        models: `[NAME=]PATH` texts, in order.
        origins: Where each value came from, by name.
    """

    endpoint: str = BY_NAME["endpoint"].default
    max_batch_size: int = BY_NAME["max_batch_size"].default
    max_batch_bytes: int = BY_NAME["max_batch_bytes"].default
    batch_timeout_ms: float = BY_NAME["batch_timeout_ms"].default
    inline_ms: float = BY_NAME["inline_ms"].default
    max_queue_rows: int = BY_NAME["max_queue_rows"].default
    max_queue_bytes: int = BY_NAME["max_queue_bytes"].default
    max_request_bytes: int = BY_NAME["max_request_bytes"].default
    max_rows: int = BY_NAME["max_rows"].default
    max_timeout_ms: float = BY_NAME["max_timeout_ms"].default
    drain_timeout_s: float = BY_NAME["drain_timeout_s"].default
    stuck_after_s: float = BY_NAME["stuck_after_s"].default
    intra_op_threads: int = BY_NAME["intra_op_threads"].default
    inter_op_threads: int = BY_NAME["inter_op_threads"].default
    memory_growth: bool = BY_NAME["memory_growth"].default
    deterministic: bool = BY_NAME["deterministic"].default
    log_level: str = BY_NAME["log_level"].default
    models: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if SEPARATOR in self.endpoint:
            origin = self.origins.get("endpoint", "default")
            text = (
                f"{origin}: endpoint = {self.endpoint!r}: several endpoints are for clients, a server listens at one: "
                "start it with --endpoint and its own"
            )
            raise ConfigError(text)
        inert: dict[str, str] = {}
        if self.batch_timeout_ms and self.max_batch_size == 1:
            inert["batch_timeout_ms"] = "with max_batch_size = 1 no request ever waits for company"
        if self.max_queue_rows < self.max_batch_size:
            inert["max_batch_size"] = f"a queue of max_queue_rows = {self.max_queue_rows} never fills a batch"
        if self.inline_ms >= self.stuck_after_s * 1000:
            inert["inline_ms"] = f"a run of stuck_after_s = {self.stuck_after_s:g} ends the process"
        for name, why in inert.items():
            origin = self.origins.get(name, "default")
            text = f"{origin}: {name} = {getattr(self, name)} has no effect: {why}; remove it or change the other"
            raise ConfigError(text)

    @property
    def limits(self) -> Limits:
        """What one message may hold."""
        return Limits(max_request_bytes=self.max_request_bytes, max_rows=self.max_rows)

    @property
    def ladder(self) -> tuple[int, ...]:
        """The allowed batch sizes."""
        return batch_ladder(self.max_batch_size)

    def explained(self) -> dict[str, list[Any]]:
        """Return every setting as name -> [value, origin], as `status` shows it."""
        shown = [item.name for item in fields(self) if item.name != "origins"]
        return {name: [_plain(getattr(self, name)), self.origins.get(name, "default")] for name in shown}


def _plain(value: object) -> Any:
    return list(value) if isinstance(value, tuple) else value
