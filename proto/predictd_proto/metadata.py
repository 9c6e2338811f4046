"""What a served model is: its signatures, versions and how it runs, as clients get to see it.

Owns `SignatureSpec` and `ModelMetadata`. It loads nothing and measures nothing. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictd_proto.checks import (
    check_bool,
    check_int,
    check_ints,
    check_numbers,
    check_text,
    check_texts,
    check_tuple,
    refuse,
)
from predictd_proto.errors import LocalProtocolError
from predictd_proto.limits import MAX_LIST_ITEMS
from predictd_proto.structures import Structure, check_structure, leaf_names
from predictd_proto.tensors import TensorSpec

_MAX_TEXT = 256
_MAX_LONG_TEXT = 4096
_MAX_ERROR_TEXT = 8192
_MAX_INT = (1 << 63) - 1
_MAX_SHOWN = 64
_TEXTS = ("state", "default_signature", "digest", "source", "format", "runner", "gate")
_DURATIONS = ("load_ms", "warmup_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureSpec:
    """A named set of inputs and outputs.

    Attributes:
        name: The signature's name.
        inputs: Input tensors, in the order in which the graph takes them.
        outputs: Output tensors, in the order in which the graph gives them.
        input_structure: How a caller nests the inputs; the leaves are input names.
        output_structure: How the answer is nested; the leaves are output names.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input_structure: Structure
    output_structure: Structure

    def __post_init__(self) -> None:
        check_text("name", self.name, _MAX_TEXT)
        for field, specs, structure in (
            ("input", self.inputs, self.input_structure),
            ("output", self.outputs, self.output_structure),
        ):
            check_tuple(f"{field}s", specs, TensorSpec, MAX_LIST_ITEMS)
            checked = check_structure(structure)
            self._check_names(f"{field}_structure", leaf_names(checked), specs)
            # As lists, which is what the other side gets.
            object.__setattr__(self, f"{field}_structure", checked)

    def _check_names(self, field: str, leaves: list[str], specs: tuple[TensorSpec, ...]) -> None:
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            text = f"signature {self.name!r}: two tensors of one name among {_listed(names)}"
            raise LocalProtocolError(text)
        if sorted(leaves) != sorted(names):
            text = (
                f"signature {self.name!r}: {field} names {_listed(leaves)}; "
                f"expected each of its tensors once: {_listed(names)}"
            )
            raise LocalProtocolError(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """One version of one model.

    Attributes:
        name: The model's name.
        version: Its version; higher is newer.
        state: "available" (there, and not loaded), "loading", "ready", "unloading" or "failed".
        labels: Labels that point at this version.
        is_default: A request that names no version is answered by this one.
        signatures: What can be asked of it; empty until it is loaded.
        default_signature: The signature used when a request names none.
        batch_sizes: Allowed batch sizes of the default signature in rows, ascending; each was traced and warmed. Empty:
            rows are not merged.
        ladders: The allowed batch sizes of each of `signatures`, in their order.
        digest: "sha256:..." of its file or directory.
        source: The file's or directory's name.
        format: How it is stored ("keras", "h5", "saved_model", "frozen_graph").
        runner: How the default signature is run ("session", "session-v1", "concrete-function", "jax-jit",
            "torch-eager").
        runners: How each of `signatures` is run, in their order.
        load_ms: Time taken by loading and tracing.
        warmup_ms: Time taken by running every allowed batch size.
        traces: How many graphs were traced for it, all of them before it was ready.
        parameters: Number of weights; None when unknown.
        memory_bytes: Growth of the process's memory during the load; None when unknown.
        weight_bytes: Size of the weights alone; None when unknown.
        gate: What the comparison with its golden samples gave; empty when there are none.
        notes: What an operator should know about the way it is served.
        model_notes: What there is to say of the model as a whole, with its newest version only: names beside its
            versions that are none, others that wanted its name.
        error: Why the load failed; empty otherwise.
    """

    name: str
    version: int
    state: str
    labels: tuple[str, ...] = ()
    is_default: bool = False
    signatures: tuple[SignatureSpec, ...] = ()
    default_signature: str = ""
    batch_sizes: tuple[int, ...] = ()
    ladders: tuple[tuple[int, ...], ...] = ()
    digest: str = ""
    source: str = ""
    format: str = ""
    runner: str = ""
    runners: tuple[str, ...] = ()
    load_ms: float = 0.0
    warmup_ms: float = 0.0
    traces: int = 0
    parameters: int | None = None
    memory_bytes: int | None = None
    weight_bytes: int | None = None
    gate: str = ""
    notes: tuple[str, ...] = ()
    model_notes: tuple[str, ...] = ()
    error: str = ""

    def __post_init__(self) -> None:
        check_text("name", self.name, _MAX_TEXT)
        texts = (self.state, self.default_signature, self.digest, self.source, self.format, self.runner, self.gate)
        check_texts(_TEXTS, texts, _MAX_LONG_TEXT)
        check_text("error", self.error, _MAX_ERROR_TEXT)
        check_ints(("version", "traces"), (self.version, self.traces), 0, _MAX_INT)
        check_bool("is_default", self.is_default)
        _check_list("labels", self.labels, _MAX_TEXT)
        _check_list("runners", self.runners, _MAX_TEXT)
        _check_list("notes", self.notes, _MAX_LONG_TEXT)
        _check_list("model_notes", self.model_notes, _MAX_LONG_TEXT)
        check_tuple("signatures", self.signatures, SignatureSpec, MAX_LIST_ITEMS)
        check_tuple("ladders", self.ladders, tuple, MAX_LIST_ITEMS)
        for name, of_each in (("runners", self.runners), ("ladders", self.ladders)):
            if len(of_each) not in (0, len(self.signatures)):
                refuse(name, f"none, or one for each of {len(self.signatures)} signatures", of_each)
        _check_sizes("batch_sizes", self.batch_sizes)
        for sizes in self.ladders:
            _check_sizes("ladders", sizes)
        check_numbers(_DURATIONS, (self.load_ms, self.warmup_ms))
        for name, count in (("parameters", self.parameters), ("weight_bytes", self.weight_bytes)):
            if count is not None:
                check_int(name, count, 0, _MAX_INT)
        if self.memory_bytes is not None:
            # Memory may shrink during a load, when another model's was freed meanwhile.
            check_int("memory_bytes", self.memory_bytes, -_MAX_INT, _MAX_INT)

    @property
    def is_ready(self) -> bool:
        """Whether requests for it are accepted."""
        return self.state == "ready"

    def signature(self, name: str | None = None) -> SignatureSpec | None:
        """Return a signature; None when there is none of that name.

        Args:
            name: The signature's name; None for the model's default.
        """
        wanted = self.default_signature if name is None else name
        return next((spec for spec in self.signatures if spec.name == wanted), None)

    def batch_sizes_of(self, name: str) -> tuple[int, ...]:
        """Return a signature's allowed batch sizes, ascending; none where its rows are not merged.

        Args:
            name: The signature's name.
        """
        if not self.ladders:
            return self.batch_sizes if name == self.default_signature else ()
        of_each = zip(self.signatures, self.ladders, strict=True)
        return next((sizes for spec, sizes in of_each if spec.name == name), ())


def _check_sizes(name: str, sizes: tuple[int, ...]) -> None:
    check_tuple(name, sizes, int, MAX_LIST_ITEMS)
    for size in sizes:
        check_int(name, size, 1, _MAX_INT)


def _check_list(name: str, texts: tuple[str, ...], most: int) -> None:
    check_tuple(name, texts, str, MAX_LIST_ITEMS)
    for text in texts:
        check_text(name, text, most)


def _listed(names: list[str]) -> str:
    shown = ", ".join([repr(name[:_MAX_SHOWN]) for name in names[:_MAX_SHOWN]])
    return f"{shown}, ... ({len(names)})" if len(names) > _MAX_SHOWN else shown or "none"
