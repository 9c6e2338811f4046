"""Loading: from a model's file to signatures that can be run.

Owns the order read -> trace -> choose -> let go of the original. It starts no thread and publishes nothing. Loader
thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from predictd_proto.errors import ModelLoadError
from predictd_server.models.code_policy import CodePolicy
from predictd_server.models.contents import digest_of
from predictd_server.models.files import ModelFile
from predictd_server.models.load_failure import load_failure, reason_of
from predictd_server.models.reclaim import reclaim_memory
from predictd_server.models.recorded import recorded_inputs
from predictd_server.models.settings import ModelSettings
from predictd_server.runner import LoadedModel
from predictd_server.tensorflow.reading import read_model
from predictd_server.tensorflow.selection import Selected, select_runner
from predictd_server.tensorflow.source_model import SourceModel, TracedSignature
from predictd_server.tensorflow.weights import CONSTANT_LIMIT_BYTES
from predictd_server.trials.agreement import Tolerance, find_difference
from predictd_server.trials.recording import Recording

_log = logging.getLogger(__name__)

DEFAULT_LADDER = (1, 64)


def load_model(
    file: ModelFile,
    settings: ModelSettings,
    ladder: Sequence[int] = DEFAULT_LADDER,
    constant_limit_bytes: int = CONSTANT_LIMIT_BYTES,
) -> LoadedModel:
    """Load a model and choose the fastest right way to run each of its signatures.

    The original is let go of: where every signature runs in a session, the weights are in memory once.

    Args:
        file: What to load.
        settings: How: tags, signature, custom modules, and what becomes of code.
        ladder: The batch sizes it will be run with, ascending; candidates are timed at three of them.
        constant_limit_bytes: How many bytes of weights may become constants of the graph, which is faster and takes
            several times their size.

    Raises:
        ModelLoadError: It can't be served; the text says why and what to do.
    """
    try:
        digest = digest_of(file.path)
        code = CodePolicy(settings.unsafe)
        source = read_model(file, settings, code)
        specs = {name: traced.spec for name, traced in source.signatures.items()}
        recordings = recorded_inputs(file, specs, source.default_signature)
        selected = _select(source, ladder, constant_limit_bytes, recordings, is_xla_tried=settings.xla)
    except Exception as error:
        raise load_failure(file.path, error) from error
    loaded = LoadedModel(
        signatures={name: choice.signature for name, choice in selected.items()},
        default_signature=source.default_signature,
        parameters=source.parameters,
        digest=digest,
        source=str(file.path),
        weight_bytes=source.weight_bytes,
        notes=(*code.notes, *(note for choice in selected.values() for note in choice.notes)),
        traces=len(source.signatures),
    )
    for note in loaded.notes:
        _log.warning("model %s: %s", file.name, note)
    del source
    reclaim_memory()
    return loaded


def _select(
    source: SourceModel,
    ladder: Sequence[int],
    constant_limit_bytes: int,
    recordings: Mapping[str, tuple[Recording, ...]],
    *,
    is_xla_tried: bool,
) -> dict[str, Selected]:
    selected: dict[str, Selected] = {}
    others = [name for name in source.signatures if name != source.default_signature]
    for name in (source.default_signature, *others):
        traced = source.signatures[name]
        recorded = recordings.get(name, ())
        twin = _twin(traced, source, selected, recorded)
        if twin is not None:
            selected[name] = twin
            continue
        try:
            selected[name] = select_runner(
                traced,
                source.owner,
                ladder,
                constant_limit_bytes,
                source.saved_model,
                recorded,
                is_xla_tried=is_xla_tried,
            )
        except ModelLoadError as error:
            if name == source.default_signature:
                raise
            # A training step saved beside the model must not keep the model from being served.
            _log.warning("signature %r is left out: %s", name, reason_of(error))
    return selected


def _twin(
    traced: TracedSignature, source: SourceModel, selected: dict[str, Selected], recordings: tuple[Recording, ...]
) -> Selected | None:
    """Return the signature under another name if its graph is already loaded: exports give one graph two names."""
    for name, choice in selected.items():
        original = choice.signature
        if (original.spec.inputs, original.spec.outputs) != (traced.spec.inputs, traced.spec.outputs):
            continue
        make = original.synthesise or next((recording.inputs for recording in original.recordings), None)
        if make is None:
            continue
        inputs = make(2)
        one, other = (each.reference(source.owner) for each in (traced, source.signatures[name]))
        if find_difference(one.run(inputs), other.run(inputs), Tolerance.SINGLE) is None:
            return Selected(replace(original, spec=traced.spec, recordings=recordings))
    return None
