"""The loader thread: brings models from their files to "ready", one after the other.

Owns the order load -> trace -> warm up -> publish, and the import of TensorFlow, which happens on this thread and
nowhere else. Requests are answered meanwhile: models that are not ready yet say so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from predictd_proto.errors import ModelLoadError, PredictdError
from predictd_proto.facts import safe_text
from predictd_proto.metadata import ModelMetadata
from predictd_server.ladder import within_bytes
from predictd_server.models.files import ModelFile
from predictd_server.models.registry import FAILED, LOADING, READY, Registry, ServedModel
from predictd_server.models.settings import ModelSettings
from predictd_server.served import ServedSignature, is_mergeable, row_bytes
from predictd_server.settings import Settings
from predictd_server.status_report import resident_bytes

if TYPE_CHECKING:
    from predictd_server.runner import LoadedModel

_log = logging.getLogger("predictd")

#: A path or a library's error may hold what UTF-8 can't carry, and any amount of it.
MOST_TEXT = 4000

#: A bare file has no version of its own.
FIRST_VERSION = 1


class Loader:
    """Loads the models named on the command line.

    Args:
        settings: Ladder, bounds and the runtime's settings.
        registry: Where models are published.
        files: What to load, in order.
        on_done: Called on the loader's thread when all are loaded or have failed.
    """

    def __init__(
        self, settings: Settings, registry: Registry, files: list[ModelFile], on_done: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._files = files
        self._on_done = on_done
        self._runtime: dict[str, Any] = {}
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="predictd-loader", daemon=True)
        for file in files:
            registry.put(ServedModel(_metadata(file, LOADING)))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Load no further model; the one being loaded is not waited for."""
        self._is_stopping = True

    def runtime(self) -> Mapping[str, Any]:
        """Return the model runtime's effective settings; empty until it has started."""
        return self._runtime

    def _run(self) -> None:
        for file in self._files:
            if self._is_stopping:
                return
            self._registry.put(self._load(file))
        if not self._is_stopping:
            self._on_done()

    def _load(self, file: ModelFile) -> ServedModel:
        try:
            return self._load_or_raise(file)
        except PredictdError as error:
            reason = error.message
        except Exception as error:  # a model file may raise anything while it loads
            _log.debug("loading %s failed", file.path, exc_info=True)
            reason = f"{file.path}: {type(error).__name__}: {error}"
        _log.error("model %s: %s", file.name, reason)
        return ServedModel(_metadata(file, FAILED, error=reason))

    def _load_or_raise(self, file: ModelFile) -> ServedModel:
        self._start_runtime()
        # After the runtime: both import TensorFlow, whose settings can't be changed any more then.
        from predictd_server.tensorflow.loading import load_model
        from predictd_server.trials.warmup import warm_up

        before_bytes, started = resident_bytes(), monotonic()
        loaded = load_model(file, ModelSettings(name=file.name, path=file.path), self._settings.ladder)
        loaded_at = monotonic()
        signatures = self._signatures(file, loaded)
        for signature in signatures.values():
            sizes = signature.sizes or (1,)
            signature.costs_s.update(warm_up(signature.spec, signature.runner, sizes))
        metadata = _ready_metadata(
            file,
            loaded,
            signatures,
            load_ms=(loaded_at - started) * 1000,
            warmup_ms=(monotonic() - loaded_at) * 1000,
            grown_bytes=_growth(before_bytes),
        )
        _log_ready(metadata)
        return ServedModel(metadata, signatures)

    def _start_runtime(self) -> None:
        from predictd_server.tensorflow.runtime import RuntimeSettings, configure, describe

        if self._runtime:
            return
        settings = self._settings
        configure(
            RuntimeSettings(
                intra_op_threads=settings.intra_op_threads,
                inter_op_threads=settings.inter_op_threads,
                memory_growth=settings.memory_growth,
                deterministic=settings.deterministic,
            )
        )
        self._runtime = describe()

    def _signatures(self, file: ModelFile, loaded: LoadedModel) -> dict[str, ServedSignature]:
        served: dict[str, ServedSignature] = {}
        for name, signature in loaded.signatures.items():
            sizes: tuple[int, ...] = ()
            if signature.are_rows_independent and is_mergeable(signature.spec):
                sizes = within_bytes(self._settings.ladder, row_bytes(signature.spec), self._settings.max_batch_bytes)
            served[name] = ServedSignature(file.name, FIRST_VERSION, signature.spec, signature.runner, sizes)
        if not served:
            text = f"{file.path}: has no signature that can be called; expected at least one"
            raise ModelLoadError(text)
        return served


def _growth(before_bytes: int | None) -> int | None:
    after_bytes = resident_bytes()
    return None if before_bytes is None or after_bytes is None else max(after_bytes - before_bytes, 0)


def _metadata(file: ModelFile, state: str, error: str = "") -> ModelMetadata:
    return ModelMetadata(
        name=file.name,
        version=FIRST_VERSION,
        state=state,
        source=safe_text(file.path.name, MOST_TEXT),
        error=safe_text(error, MOST_TEXT),
    )


def _ready_metadata(
    file: ModelFile,
    loaded: LoadedModel,
    signatures: dict[str, ServedSignature],
    *,
    load_ms: float,
    warmup_ms: float,
    grown_bytes: int | None,
) -> ModelMetadata:
    default = signatures[loaded.default_signature]
    return ModelMetadata(
        name=file.name,
        version=FIRST_VERSION,
        state=READY,
        signatures=tuple(signature.spec for signature in signatures.values()),
        default_signature=loaded.default_signature,
        batch_sizes=default.sizes,
        digest=loaded.digest,
        source=safe_text(file.path.name, MOST_TEXT),
        runner=default.runner.kind,
        load_ms=round(load_ms, 1),
        warmup_ms=round(warmup_ms, 1),
        parameters=loaded.parameters,
        memory_bytes=grown_bytes,
    )


def _log_ready(metadata: ModelMetadata) -> None:
    spec = metadata.signature()
    assert spec is not None
    inputs = ", ".join(f"{tensor.name} {tensor}" for tensor in spec.inputs)
    outputs = ", ".join(f"{tensor.name} {tensor}" for tensor in spec.outputs)
    _log.info(
        "model %s version %d: %s -> %s; runner %s, loaded in %.1f s, warmed in %.1f s",
        metadata.name,
        metadata.version,
        inputs,
        outputs,
        metadata.runner,
        metadata.load_ms / 1000,
        metadata.warmup_ms / 1000,
    )
