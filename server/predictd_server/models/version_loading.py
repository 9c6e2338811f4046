"""Loading one version: from its files to signatures that answer as they should, at every size that will be asked for.

Owns the order start the backend -> read and trace -> warm up -> gate. It publishes nothing and decides nothing about
other versions. Loader thread: the backend is imported on this thread and nowhere else.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from predictd_proto.dtypes import STRING
from predictd_proto.errors import ModelLoadError
from predictd_proto.facts import safe_text
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_server.models.backend import choose_backend
from predictd_server.models.contents import digest_of, size_bytes
from predictd_server.models.files import ModelFile
from predictd_server.models.gate import check_golden
from predictd_server.models.growth import Growth
from predictd_server.models.reclaim import reclaim_memory
from predictd_server.models.registry import READY, ServedModel
from predictd_server.models.serving_notes import class_notes, serving_notes
from predictd_server.models.settings import PAD, ModelSettings
from predictd_server.models.trust import check_digest, check_memory, check_size
from predictd_server.resident import resident_bytes
from predictd_server.serving.caller_class import CallerClasses
from predictd_server.serving.ladder import batch_ladder, further_sizes, within
from predictd_server.serving.lengths import FreeAxes
from predictd_server.serving.served import ServedSignature, is_mergeable, row_bytes
from predictd_server.settings import Settings
from predictd_server.trials.free_axes import find_free_axes
from predictd_server.trials.warm_sizes import warm_sizes
from predictd_server.trials.warmup import Measured

if TYPE_CHECKING:
    from predictd_server.runner import LoadedModel, LoadedSignature

_log = logging.getLogger("predictd")

#: A path or a library's error may hold what UTF-8 can't carry, and any amount of it.
MOST_TEXT = 4000

#: Of so many signatures the sizes are kept for their next load.
MOST_FOUND = 1000

#: A load that took less leaves nothing behind that would be missed.
RECLAIMED_BYTES = 64 << 20


class VersionLoading:
    """Loads versions, one after the other.

    Args:
        settings: Ladder, bounds, the backend and its runtime's settings.
        releases: As for `Growth`; where nothing ever leaves, nothing is to be told.

    Raises:
        ConfigError: The backend isn't installed.
    """

    def __init__(self, settings: Settings, releases: Callable[[], int] = lambda: 0) -> None:
        self._settings = settings
        self._releases = releases
        self._backend = choose_backend(settings)
        self._runtime: dict[str, Any] = {}
        self._found_sizes: dict[tuple[str, str, str], tuple[int, ...]] = {}

    def runtime(self) -> Mapping[str, Any]:
        """Return the model runtime's effective settings; empty until it has started. Any thread."""
        return self._runtime

    def load(self, file: ModelFile, settings: ModelSettings) -> ServedModel:
        """Return a version that is ready to serve.

        Args:
            file: The version.
            settings: Its model's.

        Raises:
            Exception: Whatever a file and the libraries that read it may raise.
        """
        if not self._runtime:
            self._runtime = self._backend.start(self._settings)
            _set_aside_libraries()
        self._judge(file, settings)
        growth, started = Growth(self._releases), monotonic()
        ladder = settings.batch_sizes or batch_ladder(settings.max_batch_size or self._settings.max_batch_size)
        loaded = self._backend.load(file, settings, ladder)
        try:
            loaded_at = monotonic()
            signatures = self._signatures(file, settings, loaded, ladder)
            gate = check_golden(file, settings, signatures, loaded.default_signature)
            classes = CallerClasses(self._settings.classes)
            notes = (*serving_notes(signatures), *class_notes(signatures, classes, self._settings.max_queue_rows))
            # What the largest batches worked in: 110 MB of a ResNet50. Not worth the interruption for a small model.
            grown_bytes = growth.bytes()
            if grown_bytes is None or grown_bytes > RECLAIMED_BYTES:
                reclaim_memory()
        except BaseException:
            loaded.close()
            raise
        for note in notes:
            _log.warning("model %s: %s", file.name, note)
        metadata = _ready_metadata(
            file,
            loaded,
            signatures,
            load_ms=(loaded_at - started) * 1000,
            warmup_ms=(monotonic() - loaded_at) * 1000,
            grown_bytes=growth.bytes(),
            gate=gate,
            notes=(*loaded.notes, *notes),
        )
        return ServedModel(metadata, signatures)

    def _judge(self, file: ModelFile, settings: ModelSettings) -> None:
        """Refuse files before anything of them is taken apart."""
        size = size_bytes(file.path)
        check_size(file, settings, size)
        limit_bytes = self._settings.memory_limit_bytes
        check_memory(file, size_bytes=size, used_bytes=resident_bytes() or 0, limit_bytes=limit_bytes)
        if settings.digests:
            check_digest(file, settings, digest_of(file.path))

    def _signatures(
        self, file: ModelFile, settings: ModelSettings, loaded: LoadedModel, ladder: tuple[int, ...]
    ) -> dict[str, ServedSignature]:
        is_padding = settings.unseen_lengths == PAD
        served: dict[str, ServedSignature] = {}
        for name, signature in loaded.signatures.items():
            tried: tuple[int, ...] = ()
            if signature.are_rows_independent and is_mergeable(signature.spec):
                tried = within(ladder, row_bytes(signature.spec), self._settings.max_batch_bytes)
            sizes, costs_s = self._warm_sizes(file.name, loaded.digest, signature, tried, settings)
            served[name] = ServedSignature(
                file.name,
                file.version,
                signature.spec,
                signature.runner,
                sizes,
                settings=settings,
                axes=find_free_axes(signature, settings.lengths) if is_padding else FreeAxes(),
                is_repeatable=signature.is_repeatable,
                # By as much as before there were larger ones, or a few large requests would fill a queue.
                count_bound=max(tried, default=sys.maxsize),
            )
            for (size, shapes), seconds in costs_s.items():
                served[name].costs.set(size, shapes, seconds)
        if not served:
            text = f"{file.path}: has no signature that can be called; expected at least one"
            raise ModelLoadError(text)
        return served

    def _warm_sizes(
        self, model: str, digest: str, signature: LoadedSignature, tried: tuple[int, ...], settings: ModelSettings
    ) -> tuple[tuple[int, ...], dict[Measured, float]]:
        """Return the sizes and what was measured; the same contents get the same sizes whenever they are loaded."""
        key = (model, digest, signature.spec.name)
        is_set = settings.max_batch_size is not None or "max_batch_size" in self._settings.origins
        known = self._found_sizes.pop(key, ())
        further = () if is_set else self._further_sizes(signature.spec, tried, settings)
        sizes, costs_s = warm_sizes(signature, tried, settings, further=further, known=known, is_most_kept=is_set)
        self._found_sizes[key] = sizes
        if len(self._found_sizes) > MOST_FOUND:
            del self._found_sizes[next(iter(self._found_sizes))]
        _log_sizes(model, signature.spec.name, tried, sizes)
        return sizes, costs_s

    def _further_sizes(self, spec: SignatureSpec, tried: tuple[int, ...], settings: ModelSettings) -> tuple[int, ...]:
        """Return the sizes to try beyond those asked for: where one run tells of all, and a queue fills it."""
        if not _are_rows_alike(spec):
            return ()
        rows = self._settings.max_queue_rows if settings.max_queue_rows is None else settings.max_queue_rows
        sizes = further_sizes(tried, row_bytes(spec), self._settings.max_batch_bytes)
        return tuple(size for size in sizes if size <= rows)


def _are_rows_alike(spec: SignatureSpec) -> bool:
    """Whether every row has as many bytes as those that sizes are measured with."""
    return all(item.dtype != STRING and None not in item.shape[1:] for item in spec.inputs)


def unloaded(file: ModelFile, state: str, error: str = "") -> ServedModel:
    """Return a version that is not served, as clients get to see it.

    Args:
        file: The version.
        state: What it is instead.
        error: Why.
    """
    return ServedModel(
        ModelMetadata(
            name=file.name,
            version=file.version,
            state=state,
            source=safe_text(file.path.name, MOST_TEXT),
            format=file.format.value,
            error=safe_text(error, MOST_TEXT),
        )
    )


def _log_sizes(model: str, signature: str, tried: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    """Tell where what the runs took has moved the largest batch, and how to have another."""
    if not tried or sizes[-1] == tried[-1]:
        return
    why = f"those up to {tried[-1]} that were tried answered no more rows per second"
    if sizes[-1] > tried[-1]:
        why = f"runs of {tried[-1]} are short, and larger ones answer more rows per second"
    _log.info(
        "model %s: signature %r: batches have at most %d rows: %s; set the model's batch_sizes or max_batch_size for "
        "another bound",
        model,
        signature,
        sizes[-1],
        why,
    )


def _set_aside_libraries() -> None:
    """Keep the garbage collector from walking over the libraries, before there is any model.

    They are 350,000 objects that live until the end. A collection over them holds the interpreter, and with it every
    request, for 300 ms, and each load and each unload needs one; without them it takes 1 ms. What is set aside is never
    collected again, so no model must be among it.
    """
    gc.collect()
    gc.freeze()


def _ready_metadata(
    file: ModelFile,
    loaded: LoadedModel,
    signatures: dict[str, ServedSignature],
    *,
    load_ms: float,
    warmup_ms: float,
    grown_bytes: int | None,
    gate: str,
    notes: tuple[str, ...],
) -> ModelMetadata:
    default = signatures[loaded.default_signature]
    return ModelMetadata(
        name=file.name,
        version=file.version,
        state=READY,
        signatures=tuple(signature.spec for signature in signatures.values()),
        default_signature=loaded.default_signature,
        batch_sizes=default.sizes,
        ladders=tuple(signature.sizes for signature in signatures.values()),
        digest=loaded.digest,
        source=safe_text(file.path.name, MOST_TEXT),
        format=file.format.value,
        runner=default.runner.kind,
        runners=tuple(signature.runner.kind for signature in signatures.values()),
        load_ms=round(load_ms, 1),
        warmup_ms=round(warmup_ms, 1),
        traces=loaded.traced(),
        parameters=loaded.parameters,
        memory_bytes=grown_bytes,
        weight_bytes=loaded.weight_bytes,
        gate=safe_text(gate, MOST_TEXT),
        notes=tuple(safe_text(note, MOST_TEXT) for note in notes),
    )
