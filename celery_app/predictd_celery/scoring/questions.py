"""What is asked of the model for every chunk of a run.

Owns `Question` and its digest: chunks that were scored under another one are none of this run's. Any thread.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from predictd_celery.scoring.formats.spans import Span
from predictd_proto.dtypes import DTYPE_BYTES
from predictd_proto.errors import ConfigError, ScoreError
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.structures import leaf_names
from predictd_proto.tensors import TensorSpec

ON_ERROR = ("stop", "skip", "null")

#: A tensor's name, dtype and shape.
_Field = tuple[str, str, tuple[int | None, ...]]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of which model.

    Attributes:
        model: The model's name.
        version: Its version: the one that was the latest when the run began, also when there is a newer one.
        digest: Of the model's files; empty where the server has none.
        signature: The signature's name.
        inputs: What it takes, as (name, dtype, shape).
        outputs: What it gives, likewise, in the order in which its structure is walked.
        on_error: What becomes of a row that can't be read, or that the model fails on: "stop", "skip" or "null".
    """

    model: str
    version: int
    digest: str
    signature: str
    inputs: tuple[_Field, ...]
    outputs: tuple[_Field, ...]
    on_error: str = "stop"

    @classmethod
    def of(cls, metadata: ModelMetadata, signature: str | None, on_error: str) -> Question:
        """Return the question for a model version.

        Raises:
            ConfigError: It has no such signature, or `on_error` is none of the three words.
        """
        if on_error not in ON_ERROR:
            message = f"on_error={on_error!r}: expected one of {', '.join(ON_ERROR)}"
            raise ConfigError(message)
        spec = _signature(metadata, signature or metadata.default_signature)
        inputs = tuple((one.name, one.dtype, one.shape) for one in spec.inputs)
        given = {one.name: (one.name, one.dtype, one.shape) for one in spec.outputs}
        outputs = tuple(given[name] for name in leaf_names(spec.output_structure))
        return cls(metadata.name, metadata.version, metadata.digest, spec.name, inputs, outputs, on_error)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of what it gives."""
        return tuple(name for name, _, _ in self.outputs)

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""
        return tuple(TensorSpec(*one) for one in self.inputs)

    @property
    def row_bytes(self) -> int:
        """What one row takes as the model gets it, in bytes; a free axis counts as one."""
        return sum(DTYPE_BYTES.get(dtype, 1) * prod(axis or 1 for axis in shape[1:]) for _, dtype, shape in self.inputs)

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        fields: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return fields

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Question:
        """Return what `to_fields` was made of."""
        both = {
            side: tuple((name, dtype, tuple(shape)) for name, dtype, shape in fields[side])
            for side in ("inputs", "outputs")
        }
        return cls(**{**fields, **both})

    def key_of(self, file_sha256: str, span: Span) -> str:
        """Return what a chunk's answers are bound to: this question, the file's content and the place in it."""
        text = json.dumps([self.to_fields(), file_sha256, span.to_fields()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def check_model(question: Question, metadata: ModelMetadata) -> None:
    """Check that a daemon has the model that the run began with: hosts may have other files under the same version.

    Raises:
        ScoreError: It has not.
    """
    if metadata.digest != question.digest:
        message = (
            f"model {question.model!r} version {question.version} is {metadata.digest or 'without a digest'} here, and "
            f"was {question.digest or 'without one'} when the run began; serve the same files everywhere, or score "
            "into a new folder"
        )
        raise ScoreError(message)


def _signature(metadata: ModelMetadata, name: str) -> SignatureSpec:
    for spec in metadata.signatures:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in metadata.signatures)
    message = f"model {metadata.name!r} has no signature {name!r}; it has: {known}"
    raise ConfigError(message)
