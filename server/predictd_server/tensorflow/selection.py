"""The choice of how to run a signature: the fastest way that gives the reference's answers.

Owns building, comparing and timing the candidates. What can't be compared (random answers, no input that the graph
takes) or must keep its state is run as the concrete function, which is the reference itself. Loader thread.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from predictd_proto.dtypes import STRING
from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import TensorSpec
from predictd_server.models.load_failure import reason_of
from predictd_server.processors import usable_processors
from predictd_server.runner import LoadedSignature, Runner, Synthesis
from predictd_server.serving.ladder import paying_sizes
from predictd_server.serving.served import is_mergeable
from predictd_server.tensorflow.compiled_graph import KIND as COMPILED
from predictd_server.tensorflow.compiled_graph import build_compiled_session
from predictd_server.tensorflow.flat_graph import FlatGraph, flatten
from predictd_server.tensorflow.private_graph import build_session
from predictd_server.tensorflow.saved_session import KIND as SESSION_OF_TENSORFLOW_1
from predictd_server.tensorflow.saved_session import SavedGraph, load_session
from predictd_server.tensorflow.session_runner import SESSION_POOL, SessionRunner
from predictd_server.tensorflow.session_signature import freeze
from predictd_server.tensorflow.source_model import TracedSignature
from predictd_server.trials.agreement import Tolerance, find_difference
from predictd_server.trials.behaviour import are_rows_independent, is_repeatable
from predictd_server.trials.failing_size import FailingSize, find_failing_size
from predictd_server.trials.probe import Probe, find_probe, row_bytes
from predictd_server.trials.recording import Recording
from predictd_server.trials.timing import shortest_runs_s

_log = logging.getLogger(__name__)

#: Candidates are compared and timed with at most this much input.
_PROBE_BYTES = 16 << 20
_FEW_ROWS = 2
_BUDGET_S = 0.1
#: A later candidate must be this much faster to be preferred: timings of one way differ by as much.
_CLEARLY_FASTER = 0.85
#: A graph's branches gain from running side by side when single operations leave processors idle.
_POOL_PROCESSORS = 4


_Builder = tuple[str, Callable[[], SessionRunner]]

#: What no input can help against.
_EMPTY_TABLE = "Table not initialized"
_RECORD = "record inputs that it takes in warmup.npz beside it"


@dataclass(frozen=True, slots=True, eq=False)
class Selected:
    """A signature with the way it is run.

    Attributes:
        signature: Ready to serve.
        notes: What an operator should know.
    """

    signature: LoadedSignature
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """What candidates are tried with.

    Attributes:
        inputs: By rows.
        expected: The reference's answers, by rows.
        tolerance: How far answers may differ.
    """

    inputs: dict[int, list[NDArray[Any]]]
    expected: dict[int, Sequence[NDArray[Any]]]
    tolerance: Tolerance


def select_runner(
    traced: TracedSignature,
    owner: object,
    ladder: Sequence[int],
    constant_limit_bytes: int,
    saved_model: SavedGraph | None,
    recordings: tuple[Recording, ...] = (),
    *,
    is_xla_tried: bool = False,
) -> Selected:
    """Return a signature with the fastest way to run it that is right.

    Args:
        traced: The signature.
        owner: Keeps its variables alive.
        ladder: The batch sizes it will be run with, ascending.
        constant_limit_bytes: How many bytes of weights may become constants.
        saved_model: The SavedModel that TensorFlow 1's loader could read too, if there is one.
        recordings: Requests recorded for it: what it is tried with where it takes no made-up inputs.
        is_xla_tried: Whether its graph is tried compiled by XLA too, which takes seconds.

    Raises:
        ModelLoadError: It can't run at all, or its answers depend on earlier requests.
    """
    reference = traced.reference(owner)
    flat = traced.flat or _flattened(traced)
    sizes = _trial_sizes(traced.spec, ladder)
    try:
        probe = find_probe(reference.run, traced.spec.inputs, sizes[-1], recordings).probe
    except Exception as error:
        failing = find_failing_size(
            reference.run, traced.spec.inputs, [rows for rows in ladder if rows <= sizes[-1]], recordings
        )
        return _unprobed(traced.spec, reference, error, failing, recordings)
    builders = _builders(traced, flat, constant_limit_bytes, saved_model)
    compilers: list[_Builder] = []
    if is_xla_tried and flat is not None and _are_shapes_known(traced.spec):
        compilers.append(("a session compiled by XLA", partial(build_compiled_session, flat, constant_limit_bytes)))
    selected = _select(traced.spec, flat, reference, probe, sizes, (builders, compilers))
    kind = selected.signature.runner.kind
    if is_xla_tried and kind != COMPILED:
        note = f"signature {traced.spec.name!r}: xla = true has no effect: {_why_uncompiled(traced.spec, kind)}"
        selected = replace(selected, notes=(*selected.notes, note))
    return replace(selected, signature=replace(selected.signature, recordings=recordings))


def _select(
    spec: SignatureSpec,
    flat: FlatGraph | None,
    reference: Runner,
    probe: Probe | Recording,
    sizes: Sequence[int],
    builders: tuple[Sequence[_Builder], Sequence[_Builder]],
) -> Selected:
    tolerance = Tolerance.HALF if flat is not None and flat.uses_halves else Tolerance.SINGLE
    inputs = probe.inputs(_FEW_ROWS)
    if not is_repeatable(reference, inputs, tolerance):
        return _unrepeatable(spec, reference, flat, probe)
    if flat is not None and flat.writes:
        note = f"signature {spec.name!r} changes a state of its own ({', '.join(flat.writes)}): run as it is"
        selected = _selected(spec, reference, probe, tolerance, note)
        return replace(selected, signature=replace(selected.signature, is_repeatable=False))
    trial = _trial(reference, probe, sizes, tolerance)
    plain, compilers = builders
    session = _session(spec, plain, trial)
    # Where rows are never merged, callers choose the shapes, and each would be compiled while its request waits.
    is_compilable = bool(compilers) and are_rows_independent(session or reference, probe, tolerance)
    compiled = _session(spec, compilers, trial) if is_compilable else None
    runner = _fastest(session, compiled, reference, trial)
    return _selected(spec, runner, probe, tolerance)


def _are_shapes_known(spec: SignatureSpec) -> bool:
    """Whether the allowed batch sizes are all the shapes that requests will ever have."""
    return is_mergeable(spec) and all(None not in tensor.shape[1:] for tensor in spec.inputs)


def _why_uncompiled(spec: SignatureSpec, kind: str) -> str:
    if not _are_shapes_known(spec):
        return "its inputs have free axes, and each new shape would be compiled while a request waits; remove it"
    return f"compiled it isn't clearly faster, or not right, and it runs as {kind!r}; remove it"


def _builders(
    traced: TracedSignature, flat: FlatGraph | None, constant_limit_bytes: int, saved_model: SavedGraph | None
) -> list[_Builder]:
    """Return what makes the sessions that could be faster than the reference, the fastest first."""
    if traced.session is not None:
        # A frozen graph has nothing left to freeze.
        is_frozen = traced.session.kind != SESSION_OF_TENSORFLOW_1
        return [] if is_frozen else [("a frozen session", partial(freeze, traced, constant_limit_bytes))]
    builders: list[_Builder] = []
    if flat is not None:
        build = partial(build_session, flat, constant_limit_bytes)
        if usable_processors() < _POOL_PROCESSORS:
            builders.append(("a serial session of its own", partial(build, is_serial=True)))
        builders.append(("a session of its own", build))
    if saved_model is not None:
        builders.append(("TensorFlow 1's loader", partial(load_session, saved_model, traced.spec)))
    return builders


def _flattened(traced: TracedSignature) -> FlatGraph | None:
    try:
        return flatten(traced.function)
    except Exception as error:
        _log.info("signature %r: its graph can't be read: %s", traced.spec.name, reason_of(error))
        return None


def _unprobed(
    spec: SignatureSpec,
    reference: Runner,
    error: Exception,
    failing: FailingSize | None,
    recordings: tuple[Recording, ...],
) -> Selected:
    is_certain = not any(_is_guessed(tensor) for tensor in spec.inputs)
    if failing is not None and (is_certain or recordings):
        text = f"signature {spec.name!r}: {failing.text}: {reason_of(failing.error)}; {failing.advice}"
        raise ModelLoadError(text) from failing.error
    if recordings:
        text = f"{recordings[0].origin}: it can't run with what was recorded: {reason_of(error)}; record real inputs"
        raise ModelLoadError(text) from error
    if _EMPTY_TABLE in str(error):
        text = (
            f"signature {spec.name!r} looks things up in a table without contents: an .h5 file holds no vocabularies, "
            "and a frozen graph no tables that others fill; save the model as model.keras, or export it"
        )
        raise ModelLoadError(text) from error
    if is_certain:
        text = f"signature {spec.name!r} can't run: it failed on every made-up input: {reason_of(error)}; {_RECORD}"
        raise ModelLoadError(text) from error
    unwarmed = "it isn't warmed up, and runs the slowest way because no other could be compared with it"
    if failing is None:
        note = f"signature {spec.name!r} takes none of the made-up inputs ({reason_of(error)}): {unwarmed}; {_RECORD}"
    else:
        note = f"signature {spec.name!r}: {failing.text} ({reason_of(failing.error)}): {unwarmed}; {failing.advice}"
    return Selected(LoadedSignature(spec, reference), (note,))


def _is_guessed(tensor: TensorSpec) -> bool:
    """Whether more than its dtype and shape decides which values a graph takes: texts, lengths, indices, row splits."""
    is_list_of_numbers = "int" in tensor.dtype and tensor.shape == (None,)
    return tensor.dtype == STRING or None in tensor.shape[1:] or is_list_of_numbers


def _unrepeatable(spec: SignatureSpec, reference: Runner, flat: FlatGraph | None, probe: Probe | Recording) -> Selected:
    if flat is not None and flat.writes and not flat.is_random:
        text = (
            f"signature {spec.name!r} answers the same input differently the second time: it keeps a state between "
            f"calls ({', '.join(flat.writes)}), which would mix the data of all callers; "
            "save the model with stateful=False, or pass the state in and out as tensors"
        )
        raise ModelLoadError(text)
    note = f"signature {spec.name!r} gives random answers: it runs the slowest way because no other could be compared"
    return Selected(LoadedSignature(spec, reference, synthesise=_synthesis(probe)), (note,))


def _selected(
    spec: SignatureSpec, runner: Runner, probe: Probe | Recording, tolerance: Tolerance, *notes: str
) -> Selected:
    are_independent = are_rows_independent(runner, probe, tolerance)
    if not are_independent:
        note = f"signature {spec.name!r} has no answer per row that is free of the rows beside it: never merge requests"
        notes = (*notes, note)
    return Selected(LoadedSignature(spec, runner, are_independent, _synthesis(probe), is_repeatable=True), notes)


def _synthesis(probe: Probe | Recording) -> Synthesis | None:
    return probe.inputs if isinstance(probe, Probe) else None


def _trial_sizes(spec: SignatureSpec, ladder: Sequence[int]) -> list[int]:
    """Return the smallest and the largest size of the ladder that is worth trying and one between, ascending."""
    fitting = [rows for rows in ladder if rows * row_bytes(spec.inputs) <= _PROBE_BYTES] or [min(ladder)]
    return sorted({min(ladder), fitting[len(fitting) // 2], max(fitting)})


def _trial(reference: Runner, probe: Probe | Recording, sizes: Sequence[int], tolerance: Tolerance) -> _Trial:
    inputs = {rows: probe.inputs(rows) for rows in sizes}
    return _Trial(inputs, {rows: reference.run(arrays) for rows, arrays in inputs.items()}, tolerance)


def _session(spec: SignatureSpec, builders: Sequence[_Builder], trial: _Trial) -> SessionRunner | None:
    """Return the first session that gives the reference's answers, None when none does."""
    for description, build in builders:
        try:
            runner = build()
        except Exception as error:
            _log.info("signature %r can't run in %s: %s", spec.name, description, reason_of(error))
            continue
        difference = _difference(runner, trial)
        if difference is None:
            return runner
        _log.info("signature %r isn't run in %s: %s", spec.name, description, difference)
        runner.close()
    return None


def _difference(runner: Runner, trial: _Trial) -> str | None:
    for rows, inputs in trial.inputs.items():
        try:
            got = runner.run(inputs)
        except Exception as error:  # whatever it is, the reference didn't raise it
            return reason_of(error)
        difference = find_difference(trial.expected[rows], got, trial.tolerance)
        if difference is not None:
            return f"with {rows} rows: {difference}"
    return None


def _fastest(own: SessionRunner | None, compiled: SessionRunner | None, reference: Runner, trial: _Trial) -> Runner:
    """Return the fastest of a session on its caller's thread, on its pool, compiled, and the reference.

    The others are released.

    Args:
        own: The session that was built; None for none.
        compiled: Another one, compiled; None for none.
        reference: May be a session itself, which other signatures run in too.
        trial: What they are timed with.
    """
    session = own or (reference if isinstance(reference, SessionRunner) else None)
    pooled = None
    if session is not None and usable_processors() >= _POOL_PROCESSORS:
        pooled = session.on_pool(SESSION_POOL)
    candidates: list[Runner] = [each for each in (session, pooled, compiled) if each is not None]
    if reference is not session:
        candidates.append(reference)
    if len(candidates) == 1:
        return candidates[0]
    costs = _costs(candidates, trial)
    best = 0
    for index, cost in enumerate(costs):
        if cost < costs[best] + math.log(_CLEARLY_FASTER):
            best = index
    _log.debug("ways %s take ln seconds %s", [runner.kind for runner in candidates], costs)
    chosen = candidates[best]
    kept = [each.session for each in (chosen, reference) if isinstance(each, SessionRunner)]
    for other in candidates:
        if other is chosen or not isinstance(other, SessionRunner):
            continue
        if other.session in kept:  # it goes on, for the chosen one or for other signatures
            other.drop()
        else:
            other.close()
    return chosen


def _costs(runners: Sequence[Runner], trial: _Trial) -> list[float]:
    """Return each runner's mean logarithm of seconds: every size counts the same, small or large.

    But sizes that don't pay however they are run will be left out of the ladder, and don't count.
    """
    by_size = {rows: shortest_runs_s(runners, inputs, _BUDGET_S) for rows, inputs in trial.inputs.items()}
    counted = paying_sizes(tuple(by_size), {rows: min(taken) for rows, taken in by_size.items()})
    return [sum(map(math.log, taken)) / len(taken) for taken in zip(*map(by_size.__getitem__, counted), strict=True)]
