"""What a Keras model turns out to be when it is run: its signature, whether rows may be merged, what to tell of it.

Owns the trials before a model is served. Loader thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import TensorSpec
from predictd_server.keras_backends.keras_runner import KerasRunner
from predictd_server.keras_backends.signature import signature_of_inputs, signature_of_run, signature_without_run
from predictd_server.keras_files.model_tree import SIGNATURE
from predictd_server.models.files import ModelFile
from predictd_server.models.load_failure import reason_of
from predictd_server.models.recorded import recorded_inputs
from predictd_server.runner import LoadedSignature
from predictd_server.trials.agreement import Tolerance
from predictd_server.trials.behaviour import are_rows_independent, is_repeatable
from predictd_server.trials.failing_size import FailingSize, find_failing_size
from predictd_server.trials.probe import Probe, find_probe, row_bytes
from predictd_server.trials.recording import Recording

_FEW_ROWS = 2
#: Trials are made with at most this much input.
_PROBE_BYTES = 16 << 20
_HALVES = {"float16", "bfloat16"}
#: What Keras calls the variable that holds the state of random numbers.
_SEED_STATE = "seed_generator_state"
_RANDOM = "it gives random answers"
_RECORD = "record inputs that it takes in warmup.npz beside it"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A signature with what is to be said of it.

    Attributes:
        signature: Ready to be warmed up.
        notes: What an operator should know.
    """

    signature: LoadedSignature
    notes: tuple[str, ...] = ()


def judge(
    file: ModelFile,
    runner: KerasRunner,
    model: Any,
    input_tree: Any,
    inputs: tuple[TensorSpec, ...],
    ladder: Sequence[int],
) -> Judged:
    """Run a model with inputs made up for it, and return what that shows.

    Args:
        file: Where it came from; requests recorded beside it are tried as well.
        runner: Runs it; closed when the model is refused.
        model: The model.
        input_tree: How it nests its inputs.
        inputs: Their specs.
        ladder: The batch sizes it will be run with, ascending.

    Raises:
        ModelLoadError: It can't run at all, or its answers depend on earlier requests.
    """
    try:
        recordings = recorded_inputs(file, {SIGNATURE: signature_of_inputs(input_tree, inputs)}, SIGNATURE)
        recorded = recordings.get(SIGNATURE, ())
        try:
            probed = find_probe(runner.run, inputs, _trial_rows(inputs, ladder), recorded)
        except Exception as error:
            most = _trial_rows(inputs, ladder)
            failing = find_failing_size(runner.run, inputs, [rows for rows in ladder if rows <= most], recorded)
            return _unprobed(runner, model, input_tree, inputs, recorded, error, failing)
        spec = signature_of_run(model, input_tree, inputs, runner.answer_tree, probed.outputs)
        return _judged(runner, spec, probed.probe, recorded, _tolerance(model, inputs))
    except Exception:
        runner.close()
        raise


def _judged(
    runner: KerasRunner,
    spec: SignatureSpec,
    probe: Probe | Recording,
    recorded: tuple[Recording, ...],
    tolerance: Tolerance,
) -> Judged:
    few = probe.inputs(_FEW_ROWS)
    written = runner.writes(few)
    writes = [path for path in written if not path.endswith(_SEED_STATE)]
    synthesise = probe.inputs if isinstance(probe, Probe) else None
    if not is_repeatable(runner, few, tolerance):
        _check_random(written, writes)
        return Judged(LoadedSignature(spec, runner, True, synthesise, recorded), (*runner.notes, _RANDOM))
    notes = list(runner.notes)
    if writes:
        notes.append(f"it changes a state of its own ({', '.join(writes)}), and keeps it between requests")
    are_independent = are_rows_independent(runner, probe, tolerance)
    if not are_independent:
        notes.append("it has no answer per row that is free of the rows beside it: never merge requests")
    return Judged(LoadedSignature(spec, runner, are_independent, synthesise, recorded), tuple(notes))


def _check_random(written: Sequence[str], writes: Sequence[str]) -> None:
    """Refuse a model whose answers differ from run to run for another reason than Keras' random numbers."""
    if writes or not written:
        where = f" ({', '.join(writes)})" if writes else ""
        text = (
            f"it answers the same input differently the second time: it keeps a state between calls{where}, which "
            "would mix the data of all callers; save the model with stateful=False, or pass the state in and "
            "out as tensors; random numbers are drawn with a keras.random.SeedGenerator"
        )
        raise ModelLoadError(text)


def _unprobed(
    runner: KerasRunner,
    model: Any,
    input_tree: Any,
    inputs: tuple[TensorSpec, ...],
    recorded: tuple[Recording, ...],
    error: Exception,
    failing: FailingSize | None,
) -> Judged:
    is_certain = all(None not in spec.shape[1:] for spec in inputs)
    if failing is not None and (is_certain or recorded):
        text = f"{failing.text}: {reason_of(failing.error)}; {failing.advice}"
        raise ModelLoadError(text) from failing.error
    if recorded:
        text = f"{recorded[0].origin}: it can't run with what was recorded: {reason_of(error)}; record real inputs"
        raise ModelLoadError(text) from error
    if is_certain:
        text = f"it can't run: it failed on every made-up input: {reason_of(error)}; {_RECORD}"
        raise ModelLoadError(text) from error
    spec = signature_without_run(model, input_tree, inputs)
    note = f"it takes none of the made-up inputs ({reason_of(error)}): it isn't warmed up; {_RECORD}"
    if failing is not None:
        note = f"{failing.text} ({reason_of(failing.error)}): it isn't warmed up; {failing.advice}"
    return Judged(LoadedSignature(spec, runner), (note,))


def _trial_rows(inputs: tuple[TensorSpec, ...], ladder: Sequence[int]) -> int:
    """Return the largest size of the ladder that is worth trying."""
    return max((rows for rows in ladder if rows * row_bytes(inputs) <= _PROBE_BYTES), default=min(ladder))


def _tolerance(model: Any, inputs: tuple[TensorSpec, ...]) -> Tolerance:
    dtypes = {str(variable.dtype) for variable in model.variables} | {spec.dtype for spec in inputs}
    dtypes |= {layer.compute_dtype for layer in (model, *getattr(model, "layers", ()))}
    return Tolerance.HALF if dtypes & _HALVES else Tolerance.SINGLE
