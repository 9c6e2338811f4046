"""Fake models: what a test says of a model in one line, instead of loading one.

Owns `FakeModel` and `FakeSignature`. Whoever holds one may change it while it is served. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from predictd.requests.structure_match import is_plain
from predictd.testing.declared import declared_signature
from predictd_proto.errors import ConfigError, ProtocolError
from predictd_proto.metadata import ModelMetadata, SignatureSpec

DEFAULT_SIGNATURE = "serving_default"
AVAILABLE, READY, FAILED = "available", "ready", "failed"
STATES = (AVAILABLE, "loading", READY, "unloading", FAILED)

#: As a daemon with default settings has them.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class FakeSignature:
    """Inputs, outputs and what is answered.

    Args:
        inputs: As for `FakeModel`.
        outputs: As for `FakeModel`.
        answer: As for `FakeModel`.
        input_structure: As for `FakeModel`.
        output_structure: As for `FakeModel`.

    Attributes:
        answer: May be changed at any time.
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        answer: Any = None,
        *,
        input_structure: Any = None,
        output_structure: Any = None,
    ) -> None:
        self._declared = (inputs, outputs)
        self._structures = {"input_structure": input_structure, "output_structure": output_structure}
        self.answer = answer
        self.spec(DEFAULT_SIGNATURE)

    def spec(self, name: str) -> SignatureSpec:
        """Return what clients get to see."""
        return declared_signature(name, *self._declared, **self._structures)


class FakeModel:
    """A model for fakes: a name, what goes in, what comes out, and how it is answered.

    Args:
        name: The name that clients ask for.
        inputs: The tensors that go in: `("float32", (None, 64))` or an example array (axis 0 counts rows), or a list
            or dict of these, nested as callers nest them; None in a shape is a free axis.
        outputs: The tensors that come out, likewise.
        answer: A function of the inputs, nested as the model takes them, that returns the outputs, nested as the model
            gives them; or a constant (one row answers every row); None for zeros of the right shape. What a function
            raises becomes the answer: a `PredictdError` as it is, others as `PredictionError`.
        version: Its version; higher is newer.
        labels: Labels that point at this version.
        state: "available" (there, and not loaded), "loading", "ready", "unloading" or "failed".
        error: Why loading it failed.
        signatures: Named signatures instead of `inputs`, `outputs` and `answer`; the first is the default one.
        batch_sizes: Allowed batch sizes in rows; empty where rows are not merged.
        parameters: Number of weights, if it is to be known.
        source: The file that it claims to come from.
        digest: The digest of that file.
        runner: How it claims to be run.
        input_structure: How callers nest the inputs, with tensor names as leaves, where it is not as declared.
        output_structure: Likewise.

    Raises:
        ConfigError: Something of it can't be understood; the text says what.

    Attributes:
        answer: The default signature's answer; may be changed while the model is served.
        state: May be changed while the model is served.

    Examples:
        >>> FakeModel("digits", inputs={"pixels": ("float32", (None, 64))}, outputs={"scores": ("float32", (None, 10))})
        <FakeModel 'digits' version 1: pixels float32[rows, 64] -> scores float32[rows, 10]>
    """

    def __init__(  # noqa: PLR0913  (each is a word of the model's own metadata)
        self,
        name: str,
        *,
        inputs: Any = None,
        outputs: Any = None,
        answer: Any = None,
        version: int = 1,
        labels: Iterable[str] = (),
        state: str = READY,
        error: str = "",
        signatures: Mapping[str, FakeSignature] | None = None,
        batch_sizes: Iterable[int] = BATCH_SIZES,
        parameters: int | None = None,
        source: str = "",
        digest: str = "",
        runner: str = "fake",
        input_structure: Any = None,
        output_structure: Any = None,
    ) -> None:
        if signatures is None:
            signatures = {}
            if inputs is not None or outputs is not None or state == READY:
                _check_declared(name, inputs, outputs)
                structures = {"input_structure": input_structure, "output_structure": output_structure}
                signatures = {DEFAULT_SIGNATURE: FakeSignature(inputs, outputs, answer, **structures)}
        elif inputs is not None or outputs is not None or answer is not None:
            text = f"fake model {name!r}: give either signatures, or inputs, outputs and answer"
            raise ConfigError(text)
        self.name = name
        self.version = version
        self.labels: tuple[str, ...] = tuple(labels)
        self.state = state
        self.error = error
        self.signatures: dict[str, FakeSignature] = dict(signatures)
        self.batch_sizes: tuple[int, ...] = tuple(batch_sizes)
        self.parameters = parameters
        self.source: str = source or f"{name}.keras"
        self.digest = digest
        self.runner = runner
        self.metadata  # noqa: B018  (whatever is wrong with it is told where it is written)

    @classmethod
    def from_function(cls, function: Callable[[Any], Any], example: Any, name: str = "", **fields: Any) -> FakeModel:
        """Return the model that a function is: its signature is learned from one call.

        Args:
            function: Takes what callers pass to `predict`, returns what they get.
            example: Inputs to call it with once: an array, or a list or dict of arrays.
            name: The model's name; the function's own by default.
            **fields: As for `FakeModel`.

        Raises:
            ConfigError: What it takes or returns are no arrays.

        Examples:
            >>> def sums(x):
            ...     return x.sum(axis=1)
            >>> FakeModel.from_function(sums, np.ones((1, 4), "float32"))
            <FakeModel 'sums' version 1: input_0 float32[rows, 4] -> output_0 float32[rows]>
        """
        inputs = _as_arrays(example)
        outputs = _as_arrays(function(inputs))
        return cls(name or function.__name__, inputs=inputs, outputs=outputs, answer=function, **fields)

    @classmethod
    def from_metadata(cls, metadata: ModelMetadata, answer: Any = None) -> FakeModel:
        """Return a fake of a model that is served somewhere: `FakeModel.from_metadata(client.metadata("digits"))`.

        Args:
            metadata: What the server says of it.
            answer: What every one of its signatures answers; None for zeros.
        """
        names = [spec.name for spec in metadata.signatures]
        names.sort(key=lambda name: name != metadata.default_signature)
        by_name = {spec.name: spec for spec in metadata.signatures}
        return cls(
            metadata.name,
            version=metadata.version,
            labels=metadata.labels,
            state=metadata.state,
            error=metadata.error,
            signatures={name: _signature_of(by_name[name], answer) for name in names},
            batch_sizes=metadata.batch_sizes,
            parameters=metadata.parameters,
            source=metadata.source,
            digest=metadata.digest,
            runner=metadata.runner,
        )

    @property
    def answer(self) -> Any:
        """What the default signature answers."""
        return self._default().answer

    @answer.setter
    def answer(self, answer: Any) -> None:
        self._default().answer = answer

    @property
    def metadata(self) -> ModelMetadata:
        """What clients get to see.

        Raises:
            ConfigError: A field is wrong.
        """
        if self.state not in STATES:
            text = f"fake model {self.name!r}: state: expected one of {', '.join(STATES)}, got {self.state!r}"
            raise ConfigError(text)
        try:
            return ModelMetadata(
                name=self.name,
                version=self.version,
                state=self.state,
                labels=self.labels,
                signatures=tuple([signature.spec(name) for name, signature in self.signatures.items()]),
                default_signature=next(iter(self.signatures), ""),
                batch_sizes=self.batch_sizes,
                ladders=(self.batch_sizes,) * len(self.signatures),
                source=self.source,
                digest=self.digest,
                runner=self.runner,
                parameters=self.parameters,
                error=self.error,
            )
        except ProtocolError as error:
            text = f"fake model {self.name!r}: {error.message}"
            raise ConfigError(text) from error

    def keep(self) -> Callable[[], None]:
        """Return what makes it as it is now, whatever is changed meanwhile."""
        mine = {**vars(self), "signatures": dict(self.signatures)}
        answers = [(signature, signature.answer) for signature in self.signatures.values()]

        def put_back() -> None:
            vars(self).update(mine)
            for signature, answer in answers:
                signature.answer = answer

        return put_back

    def __repr__(self) -> str:
        metadata = self.metadata
        spec = metadata.signature()
        shown = f"<FakeModel {self.name!r} version {self.version}"
        if spec is not None:
            given, got = (", ".join(f"{t.name} {t}" for t in specs) for specs in (spec.inputs, spec.outputs))
            shown += f": {given} -> {got}"
        return shown + (">" if self.state == READY else f", {self.state}>")

    def _default(self) -> FakeSignature:
        if not self.signatures:
            text = f"fake model {self.name!r} has no signature to answer: it was made without inputs and outputs"
            raise ConfigError(text)
        return next(iter(self.signatures.values()))


def _signature_of(spec: SignatureSpec, answer: Any) -> FakeSignature:
    return FakeSignature(
        list(spec.inputs),
        list(spec.outputs),
        answer,
        input_structure=spec.input_structure,
        output_structure=spec.output_structure,
    )


def _check_declared(name: str, inputs: Any, outputs: Any) -> None:
    missing = [word for word, declared in (("inputs", inputs), ("outputs", outputs)) if declared is None]
    if missing:
        text = (
            f"fake model {name!r} without {' and '.join(missing)}: say what goes in and out, such as "
            "inputs=('float32', (None, 64)), outputs=('float32', (None, 10)); or use FakeModel.from_function"
        )
        raise ConfigError(text)


def _as_arrays(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_arrays(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and value and not is_plain(value) and not isinstance(value[0], (str, bytes)):
        return [_as_arrays(item) for item in value]
    return np.asarray(value)
