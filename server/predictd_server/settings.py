"""The server's settings: what there is to set, in which unit, and within which bounds.

Owns the one table of settings; where values come from is `settings_sources.py`. Frozen once made; any thread reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from predictd_proto.endpoints import SEPARATOR
from predictd_proto.errors import ConfigError
from predictd_proto.facts import safe_facts
from predictd_proto.limits import Limits
from predictd_server.models.settings import ModelSettings
from predictd_server.serving.caller_class import CallerClass
from predictd_server.setting import Setting

_MOST_ROWS = 1 << 24
_MOST_BYTES = 1 << 40

#: What may compute the models.
BACKENDS = ("tensorflow", "jax", "torch")

SETTINGS: tuple[Setting, ...] = (
    Setting("endpoint", str, "", "Where to listen: ipc:///path or tcp://127.0.0.1:port (default: one socket per user)"),
    Setting("max_batch_size", int, 64, "Most rows in one run; where it is not set, short runs may have more", 1, 65536),
    Setting("max_batch_bytes", int, 16 << 20, "Most input bytes in one run of several rows", 1, _MOST_BYTES),
    Setting(
        "batch_timeout_ms", float, 0.0, "Batch window: how long an idle engine waits for company, in ms", 0, 60_000
    ),
    Setting("inline_ms", float, 2.0, "Runs expected to be shorter than this many ms run on the pump's thread", 0, 1000),
    Setting(
        "fair_run_ms",
        float,
        20.0,
        "While others want the engine, a model's runs take about this long, if smaller ones cost it little, in ms",
        0,
        60_000,
    ),
    Setting(
        "max_queue_rows",
        int,
        16384,
        "Rows of one model that may wait (of one request at most max_batch_size count); more are refused as overloaded",
        1,
        _MOST_ROWS,
    ),
    Setting(
        "priority_wait_ms",
        float,
        1000.0,
        "How long requests are passed over at most by those with a higher priority, in ms",
        0,
        86_400_000,
    ),
    Setting("max_queue_bytes", int, 1 << 30, "Bytes that admitted requests may hold", 1, _MOST_BYTES),
    Setting("max_request_bytes", int, 1 << 30, "Largest request in bytes", 1024, _MOST_BYTES),
    Setting("max_rows", int, 1 << 20, "Largest request in rows", 1, _MOST_ROWS),
    Setting("max_segment_bytes", int, 1 << 30, "Clients' shared memory that is mapped; 0 shares none", 0, _MOST_BYTES),
    Setting("max_segments", int, 256, "Pieces of clients' shared memory that are mapped", 1, 1 << 16),
    Setting("max_client_segment_bytes", int, 256 << 20, "Shared memory of one client process", 1, _MOST_BYTES),
    Setting("max_client_segments", int, 64, "Pieces of shared memory of one client process", 1, 1 << 16),
    Setting("max_timeout_ms", float, 300_000.0, "Longest that a request may wait, in ms", 1, 86_400_000),
    Setting(
        "task_keep_ms",
        float,
        10_000.0,
        "How long the work of a task whose worker vanished is kept for the task's next run, in ms; 0 keeps none",
        0,
        600_000,
    ),
    Setting("drain_timeout_s", float, 20.0, "On SIGTERM: how long to finish what was admitted, in s", 0, 3600),
    Setting("stuck_after_s", float, 120.0, "A run longer than this ends the process (exit code 70), in s", 1, 86_400),
    Setting(
        "backend",
        str,
        "tensorflow",
        "What computes the models: TensorFlow, or Keras on JAX or PyTorch",
        choices=BACKENDS,
    ),
    Setting("intra_op_threads", int, 0, "Threads within one operation; 0 means one per usable CPU", 0, 1024),
    Setting("inter_op_threads", int, 0, "Threads across operations; 0 lets the backend choose", 0, 1024),
    Setting(
        "onednn",
        str,
        "auto",
        "Whether TensorFlow uses oneDNN's kernels on the CPU; auto leaves that to TensorFlow",
        choices=("auto", "on", "off"),
    ),
    Setting("memory_growth", bool, True, "Take GPU memory as needed instead of all at once"),
    Setting("deterministic", bool, False, "Ask the backend for deterministic operations"),
    Setting("watch_s", float, 0.0, "How often to look for new versions of the models, in s; 0 for never", 0, 86_400),
    Setting("settle_s", float, 2.0, "What is watched is taken after it stayed the same for so long, in s", 0, 3600),
    Setting(
        "memory_limit_bytes",
        int,
        0,
        "Models that would need more memory than this together are not loaded; 0 for no limit",
        0,
        _MOST_BYTES,
    ),
    Setting("log_level", str, "info", "How much to log", choices=("debug", "info", "warning", "error")),
)
BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}

#: By backend, the settings that mean nothing to it, and why.
_FOREIGN: dict[str, dict[str, str]] = {
    "tensorflow": {},
    "jax": {
        "onednn": "it is for TensorFlow's kernels",
        "inter_op_threads": "backend = 'jax' has one pool of threads, whose size is intra_op_threads",
        "deterministic": "backend = 'jax' has no such mode: XLA takes flags of its own from XLA_FLAGS",
    },
    "torch": {
        "memory_growth": "backend = 'torch' always takes GPU memory as needed",
        "onednn": "it is for TensorFlow's kernels",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All effective settings.

    Attributes:
        models: The models' own settings, in order; a directory of models is one entry without a name.
        classes: The classes of callers; empty where all are treated alike.
        origins: Where each value came from, by name.
    """

    endpoint: str = BY_NAME["endpoint"].default
    max_batch_size: int = BY_NAME["max_batch_size"].default
    max_batch_bytes: int = BY_NAME["max_batch_bytes"].default
    batch_timeout_ms: float = BY_NAME["batch_timeout_ms"].default
    inline_ms: float = BY_NAME["inline_ms"].default
    fair_run_ms: float = BY_NAME["fair_run_ms"].default
    max_queue_rows: int = BY_NAME["max_queue_rows"].default
    priority_wait_ms: float = BY_NAME["priority_wait_ms"].default
    max_queue_bytes: int = BY_NAME["max_queue_bytes"].default
    max_request_bytes: int = BY_NAME["max_request_bytes"].default
    max_rows: int = BY_NAME["max_rows"].default
    max_segment_bytes: int = BY_NAME["max_segment_bytes"].default
    max_segments: int = BY_NAME["max_segments"].default
    max_client_segment_bytes: int = BY_NAME["max_client_segment_bytes"].default
    max_client_segments: int = BY_NAME["max_client_segments"].default
    max_timeout_ms: float = BY_NAME["max_timeout_ms"].default
    task_keep_ms: float = BY_NAME["task_keep_ms"].default
    drain_timeout_s: float = BY_NAME["drain_timeout_s"].default
    stuck_after_s: float = BY_NAME["stuck_after_s"].default
    backend: str = BY_NAME["backend"].default
    intra_op_threads: int = BY_NAME["intra_op_threads"].default
    inter_op_threads: int = BY_NAME["inter_op_threads"].default
    onednn: str = BY_NAME["onednn"].default
    memory_growth: bool = BY_NAME["memory_growth"].default
    deterministic: bool = BY_NAME["deterministic"].default
    watch_s: float = BY_NAME["watch_s"].default
    settle_s: float = BY_NAME["settle_s"].default
    memory_limit_bytes: int = BY_NAME["memory_limit_bytes"].default
    log_level: str = BY_NAME["log_level"].default
    models: tuple[ModelSettings, ...] = ()
    classes: tuple[CallerClass, ...] = ()
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
        if "settle_s" in self.origins and not self.watch_s:
            inert["settle_s"] = "nothing is watched with watch_s = 0"
        if "priority_wait_ms" in self.origins and not self._has_priorities:
            inert["priority_wait_ms"] = "no class and no model has a priority of its own"
        inert |= self._inert_shares()
        foreign = _FOREIGN[self.backend].items()
        inert |= {name: why for name, why in foreign if getattr(self, name) != BY_NAME[name].default}
        for name, why in inert.items():
            origin = self.origins.get(name, "default")
            text = f"{origin}: {name} = {getattr(self, name)} has no effect: {why}; remove it or change the other"
            raise ConfigError(text)
        for model in self.models:
            self._check_model(model)
        for each in self.classes:
            self._check_class(each)

    def _inert_shares(self) -> dict[str, str]:
        """Return what is set for shared memory and has no effect; of what isn't set, the smaller one counts."""
        inert: dict[str, str] = {}
        for name, most in (("max_client_segment_bytes", "max_segment_bytes"), ("max_client_segments", "max_segments")):
            if name in self.origins and getattr(self, name) > getattr(self, most):
                inert[name] = f"all clients together have {most} = {getattr(self, most)}"
        if not self.max_segment_bytes:
            names = ("max_segments", "max_client_segment_bytes", "max_client_segments")
            inert |= {name: "max_segment_bytes = 0 shares nothing" for name in names if name in self.origins}
        return inert

    @property
    def _has_priorities(self) -> bool:
        return any(model.priority for model in self.models) or any(each.priority for each in self.classes)

    def _check_class(self, caller: CallerClass) -> None:
        """Refuse what is set for a class of callers and has no effect by what is set for the server and its models."""
        most_rows = max([self.max_queue_rows, *[model.max_queue_rows or 0 for model in self.models]])
        most_size = max([self.max_batch_size, *[model.max_batch_size or 0 for model in self.models]])
        inert: dict[str, str] = {}
        if caller.max_queue_rows is not None and caller.max_queue_rows > most_rows:
            inert["max_queue_rows"] = f"no model's queue holds more than {most_rows}"
        if caller.batch_timeout_ms and most_size == 1:
            inert["batch_timeout_ms"] = "with max_batch_size = 1 no request ever waits for company"
        for name, why in inert.items():
            origin = self.origins.get("classes", "default")
            text = (
                f"{origin}: classes.{caller.name}: {name} = {getattr(caller, name)} has no effect: {why}; "
                "remove it or change the other"
            )
            raise ConfigError(text)

    def _check_model(self, model: ModelSettings) -> None:
        """Refuse what is set for a model and has no effect by what is set for the server."""
        batch_size = model.most_rows or self.max_batch_size
        queue_rows = model.max_queue_rows or self.max_queue_rows
        inert: dict[str, str] = {}
        if model.batch_timeout_ms and batch_size == 1:
            inert["batch_timeout_ms"] = "with max_batch_size = 1 no request ever waits for company"
        if model.most_rows and queue_rows < batch_size:
            inert["batch_sizes" if model.batch_sizes else "max_batch_size"] = (
                f"a queue of max_queue_rows = {queue_rows} never fills a batch"
            )
        if model.xla and self.backend != "tensorflow":
            inert["xla"] = f"it is for TensorFlow's graphs, and backend = {self.backend!r}"
        if model.max_bytes and 0 < self.memory_limit_bytes < model.max_bytes:
            inert["max_bytes"] = f"nothing larger than memory_limit_bytes = {self.memory_limit_bytes} is loaded"
        for name, why in inert.items():
            origin = self.origins.get("models", "default")
            text = (
                f"{origin}: models.{model.name or '*'}: {name} = {getattr(model, name)} has no effect: {why}; "
                "remove it or change the other"
            )
            raise ConfigError(text)

    @property
    def limits(self) -> Limits:
        """What one message may hold."""
        return Limits(max_request_bytes=self.max_request_bytes, max_rows=self.max_rows)

    def explained(self) -> dict[str, list[Any]]:
        """Return every setting as name -> [value, origin], as `status` shows it."""
        shown = [item.name for item in fields(self) if item.name != "origins"]
        return {name: [_plain(getattr(self, name)), self.origins.get(name, "default")] for name in shown}


def _plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, CallerClass):
        return safe_facts({item.name: getattr(value, item.name) for item in fields(value)})
    return safe_facts(value.explained()) if isinstance(value, ModelSettings) else value
