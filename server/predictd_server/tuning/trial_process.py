"""The process of a trial: loads a model as the daemon would, and runs batches of it when told to.

Owns the other end of `trial.py`'s pipes: a line of JSON in, one out. Standard output is kept from the libraries, which
print on it. Main thread.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, TextIO

from predictd_proto.errors import ConfigError, PredictdError
from predictd_server.allocator import limit_arenas
from predictd_server.cli import let_modules_be_found
from predictd_server.models.recorded import recorded_inputs
from predictd_server.models.version_loading import VersionLoading
from predictd_server.resident import resident_bytes
from predictd_server.runner import Arrays
from predictd_server.serving.served import ServedSignature, row_bytes
from predictd_server.settings_sources import CONFIG_VARIABLE, load_settings
from predictd_server.trials.probe import Probe, find_probe
from predictd_server.tuning.target import find_target
from predictd_server.tuning.trial import Loaded, Order


def main() -> None:
    """Load what the first line says, then run what each further line asks for."""
    # The terminal sends it to every process; whoever started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    limit_arenas()
    loaded = _answered(answers, lambda: _load(Order(**json.loads(sys.stdin.readline()))))
    if loaded is None:
        return
    batches = loaded
    for line in sys.stdin:
        _answered(answers, partial(_timed, batches, **json.loads(line)))


class _Batches:
    """A signature and the inputs that it is run with."""

    def __init__(self, signature: ServedSignature, probe: Any, length: int | None) -> None:
        self._signature = signature
        self._probe = probe
        self._length = length
        self._inputs: dict[int, Arrays] = {}

    def inputs(self, rows: int) -> Arrays:
        """Return inputs of some rows; new ones have been run once, which may compile, allocate and pick kernels."""
        if rows not in self._inputs:
            # Those of one size at a time: the largest may take hundreds of megabytes.
            self._inputs.clear()
            if isinstance(self._probe, Probe) and self._length is not None:
                self._inputs[rows] = self._probe.inputs(rows, length=self._length)
            else:
                self._inputs[rows] = self._probe.inputs(rows)
            self.run(self._inputs[rows])
        return self._inputs[rows]

    def run(self, inputs: Arrays) -> None:
        """Run a batch."""
        self._signature.runner.run(inputs)


def _load(order: Order) -> tuple[dict[str, Any], _Batches]:
    settings = load_settings(flags=order.server, models=(), environ=os.environ, config=order.config)
    target = find_target(settings, order.model)
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in order.fields.items()
    }
    model = replace(target.model, **fields)
    settings = replace(settings, models=(model,))
    let_modules_be_found(settings, order.config or os.environ.get(CONFIG_VARIABLE))
    served = VersionLoading(settings).load(target.file, model)
    metadata = served.metadata
    name = metadata.default_signature
    signature = served.signatures[name]
    specs = {each: signature.spec for each, signature in served.signatures.items()}
    recordings = recorded_inputs(target.file, specs, name).get(name, ())
    most = signature.sizes[-1] if signature.sizes else 1
    probe = find_probe(signature.runner.run, signature.spec.inputs, most, recordings).probe
    loaded = Loaded(
        metadata.runner,
        signature.sizes,
        row_bytes(signature.spec),
        resident_bytes() or 0,
        notes_on(name, served.signatures, metadata.notes),
    )
    answer = {each: getattr(loaded, each) for each in Loaded.__slots__}
    return answer, _Batches(signature, probe, max(model.lengths, default=None))


def notes_on(signature: str, signatures: Iterable[str], notes: Iterable[str]) -> tuple[str, ...]:
    """Return the notes without those on other signatures: a setting may have an effect on one and not on another."""
    others = tuple(f"signature {other!r}:" for other in signatures if other != signature)
    return tuple(note for note in notes if not note.startswith(others))


def _timed(batches: _Batches, rows: int, seconds: float) -> tuple[dict[str, Any], _Batches]:
    inputs = batches.inputs(rows)
    durations_s: list[float] = []
    started = before = perf_counter()
    while not durations_s or before < started + seconds:
        batches.run(inputs)
        after = perf_counter()
        durations_s.append(after - before)
        before = after
    return {"durations_s": durations_s}, batches


def _answered(answers: TextIO, act: Callable[[], tuple[dict[str, Any], _Batches]]) -> _Batches | None:
    """Do something and say how it went; return None where it failed."""
    try:
        answer, batches = act()
    except Exception as error:  # a model may raise anything
        text = error.message if isinstance(error, PredictdError) else f"{type(error).__name__}: {error}"
        answers.write(json.dumps({"error": text, "is_config": isinstance(error, ConfigError)}) + "\n")
        return None
    answers.write(json.dumps(answer) + "\n")
    return batches


if __name__ == "__main__":
    main()
