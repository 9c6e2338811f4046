"""The catalogue: what the signatures of one server's models ask and give, remembered until that server is gone.

Owns the choice of a version and a signature by the same rule as the server's, and what is worked out from them once. It
asks nobody: `link.py` fetches. Any thread; single dict operations only, so no lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from predictd.deadline import Deadline
from predictd.requests.output_sizes import OutputSizes, Shapes
from predictd.requests.request_kinds import RequestKinds
from predictd.requests.wrong_outputs import unexpected_names, wrong_outputs
from predictd_proto.errors import (
    ModelLoadError,
    ModelNotFoundError,
    ModelNotReadyError,
    PredictdError,
    SignatureNotFoundError,
    VersionNotFoundError,
)
from predictd_proto.known_replies import KnownReply
from predictd_proto.messages import PredictResponse
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.structures import fill_structure
from predictd_proto.tensors import Tensor

#: States of versions that won't be ready by themselves.
_NOT_COMING = ("available", "failed", "unloading")

Key = tuple[str, "int | str | None", "str | None"]


class Plan:
    """How one signature is called.

    Attributes:
        metadata: The model version.
        spec: The signature.
        label: Both, for error texts.
        kinds: What was found out about requests for it.
        output_sizes: What its large outputs will take.
        batch_sizes: The signature's allowed batch sizes; none where the server merges no rows.
        is_row_wise: Whether each row of the outputs belongs to one of the inputs: the server merges rows of callers.
    """

    __slots__ = (
        "_single_output",
        "batch_sizes",
        "is_row_wise",
        "kinds",
        "label",
        "metadata",
        "output_sizes",
        "spec",
    )

    def __init__(self, metadata: ModelMetadata, spec: SignatureSpec) -> None:
        self.metadata: ModelMetadata = metadata
        self.spec: SignatureSpec = spec
        self.kinds: RequestKinds = RequestKinds()
        self.label: str = f"model {metadata.name!r} version {metadata.version}"
        if spec.name != metadata.default_signature:
            self.label += f" signature {spec.name!r}"
        self.batch_sizes: tuple[int, ...] = metadata.batch_sizes_of(spec.name)
        self.is_row_wise: bool = bool(self.batch_sizes) and all(item.shape[:1] == (None,) for item in spec.inputs)
        structure = spec.output_structure
        self._single_output = structure if isinstance(structure, str) else None
        self.output_sizes: OutputSizes = OutputSizes(spec)

    def reads(self, answer: PredictResponse, rows: int | None, shapes: Shapes = ()) -> bool:
        """Whether an answer is by this version and what its signature says.

        Args:
            answer: The server's.
            rows: How many rows were sent; None where that says nothing of the outputs.
            shapes: The inputs'.
        """
        if type(answer) is KnownReply:
            kind = answer.kind
            resolved = kind.resolved
            if resolved is not None and resolved[0] is self and resolved[1] == rows:
                return True
            if kind.version != self.metadata.version or wrong_outputs(self, answer.tensors, rows) is not None:
                return False
            kind.resolved = (self, rows)
            return True
        if answer.receipt.version != self.metadata.version or wrong_outputs(self, answer.tensors, rows) is not None:
            return False
        if self.output_sizes.see(self.in_order(answer.tensors), rows, shapes):
            # Requests of kinds that are known are joined without a place for their outputs.
            self.kinds = RequestKinds()
        return True

    def check(self, answer: PredictResponse, rows: int | None) -> None:
        """Check an answer as far as this plan can tell: another version's by the names of its outputs only.

        Args:
            answer: The server's.
            rows: As for `reads`.

        Raises:
            RemoteProtocolError: It is not what the signature says.
        """
        tensors = answer.tensors
        if answer.receipt.version == self.metadata.version:
            error = wrong_outputs(self, tensors, rows)
        else:
            error = None if self.fits(tensors) else unexpected_names(self, tensors)
        if error is not None:
            raise error

    def outputs_of(self, answer: PredictResponse) -> Any:
        """Return an answer's outputs, nested as the signature says, as arrays that own their memory."""
        if type(answer) is not KnownReply:
            return self.outputs(answer.tensors)
        # The kind was seen to fit, so a single output is the one there is.
        if self._single_output is not None:
            return answer.kind.first_array(answer.frame)
        return fill_structure(self.spec.output_structure, answer.kind.arrays(answer.frame))

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Whether these are the signature's outputs, by name."""
        if self._single_output is not None:
            return len(tensors) == 1 and tensors[0].name == self._single_output
        return {tensor.name for tensor in tensors} == {spec.name for spec in self.spec.outputs}

    def outputs(self, tensors: Sequence[Tensor]) -> Any:
        """Return received tensors, nested as the signature says, as arrays that own their memory."""
        if self._single_output is not None:
            return tensors[0].array()
        return fill_structure(self.spec.output_structure, {tensor.name: tensor.array() for tensor in tensors})

    def in_order(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return received tensors in the signature's order."""
        by_name = {tensor.name: tensor for tensor in tensors}
        return [by_name[spec.name] for spec in self.spec.outputs]


class Catalogue:
    """The plans of one server.

    Args:
        server_id: Which one; a restarted server has another.

    Attributes:
        server_id: Likewise.
        plans: What is known so far.
        missing: Until when to do without plans that could not be had.
    """

    __slots__ = ("missing", "plans", "server_id")

    def __init__(self, server_id: str) -> None:
        self.server_id: str = server_id
        self.plans: dict[Key, Plan] = {}
        self.missing: dict[Key, Deadline] = {}

    def forget(self, model: str) -> None:
        """Drop what is known of a model."""
        for key in list(self.plans):
            if key[0] == model:
                self.plans.pop(key, None)


def choose_version(models: Sequence[ModelMetadata], model: str, version: int | str | None = None) -> ModelMetadata:
    """Return the version that a number, a label, or None (the latest that is ready) stands for.

    Raises:
        ModelNotFoundError: There is no such model.
        VersionNotFoundError: There is no such version or label.
        ModelNotReadyError: It is still loading.
        ModelLoadError: It could not be loaded.
        ModelNotFoundError, VersionNotFoundError: It is there, and not loaded.
    """
    versions = sorted((m for m in models if m.name == model), key=lambda m: m.version, reverse=True)
    if not versions:
        raise unknown_model(models, model)
    wanted = [m for m in versions if version is None or version == m.version or version in m.labels]
    if not wanted:
        known = _listed(m.version for m in versions)
        labels = _listed(label for m in versions for label in m.labels)
        text = f"model {model!r}: no version or label {version!r}; versions: {known}; labels: {labels}"
        raise VersionNotFoundError(text, {"model": model, "version": version})
    default = next((m for m in wanted if version is None and m.is_default and m.is_ready), None)
    ready = default or next((m for m in wanted if m.is_ready), None)
    if ready is None:
        raise _not_ready(wanted, version)
    return ready


def choose_plan(models: Sequence[ModelMetadata], key: Key) -> Plan:
    """Return the plan for a model, version and signature.

    Raises:
        PredictdError: As `choose_version`.
        SignatureNotFoundError: There is no such signature.
    """
    model, version, signature = key
    chosen = choose_version(models, model, version)
    spec = chosen.signature(signature)
    if spec is None:
        known = _listed(s.name for s in chosen.signatures)
        text = f"model {model!r} version {chosen.version}: no signature {signature!r}; it has {known}"
        raise SignatureNotFoundError(text, {"model": model, "signature": signature})
    return Plan(chosen, spec)


def unknown_model(models: Sequence[ModelMetadata], model: str) -> ModelNotFoundError:
    """Return the error for a model that is not among these."""
    text = f"model {model!r} is not served here; served: {_listed(m.name for m in models)}"
    return ModelNotFoundError(text, {"model": model})


def _not_ready(versions: Sequence[ModelMetadata], version: int | str | None) -> PredictdError:
    """Return why none of these is served: one that is coming is waited for, one that failed is told."""
    coming = next((m for m in versions if m.state not in _NOT_COMING), None)
    if coming is not None:
        return ModelNotReadyError(f"{_named(coming)} is not ready yet: {coming.state}; try again in a moment")
    failed = next((m for m in versions if m.state == "failed"), None)
    if failed is not None:
        return ModelLoadError(f"{_named(failed)} could not be loaded: {failed.error or 'the server log says why'}")
    newest = versions[0]
    order = f"load it: `predictd load {newest.name}{'' if version is None else f' {newest.version}'}`"
    text = f"{_named(newest)} is not served now: it is {newest.state}; {order}"
    detail = {"model": newest.name, "version": version}
    return ModelNotFoundError(text, detail) if version is None else VersionNotFoundError(text, detail)


def _named(metadata: ModelMetadata) -> str:
    return f"model {metadata.name!r} version {metadata.version}"


def _listed(names: Iterable[object]) -> str:
    return ", ".join(sorted({repr(name) for name in names})) or "none"
