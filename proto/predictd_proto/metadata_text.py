"""What a model version is, in lines for a terminal.

Owns the words and the order: the command line shows a served version and a file that is only looked at in the same way.
It prints nothing and colours nothing. Any thread.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.quantities import bytes_text, count_text, counted, seconds_text
from predictd_proto.tensors import TensorSpec

#: Words that say how wide a terminal is where nobody knows.
DEFAULT_WIDTH = 80
_LEAST_WIDTH = 40
_INDENT = "  "
_DIGEST_KIND = "sha256:"


def title_of(metadata: ModelMetadata) -> str:
    """Return a version's name."""
    return f"{metadata.name} version {metadata.version}"


def fact_lines(metadata: ModelMetadata, width: int = DEFAULT_WIDTH, *, shows_tensors: bool = True) -> list[str]:
    """Return everything that is known of a version, one fact below the other.

    Args:
        metadata: The version.
        width: Columns of the terminal.
        shows_tensors: Whether inputs and outputs are among it.
    """
    facts = list(_facts(metadata, shows_tensors=shows_tensors))
    label_width = max(len(label) for label, _ in facts)
    lines: list[str] = []
    for label, text in facts:
        lines += wrapped(text, width, f"{_INDENT}{label:<{label_width}}  ", len(_INDENT) + label_width + 2)
    return lines


def signature_text(spec: SignatureSpec) -> str:
    """Return what goes in and what comes out, in one line."""
    return f"{tensors_text(spec.inputs)} -> {tensors_text(spec.outputs)}"


def tensors_text(specs: Sequence[TensorSpec]) -> str:
    """Return tensors by name, dtype and shape."""
    return ", ".join(f"{spec.name} {spec}" for spec in specs) or "nothing"


def wrapped(text: str, width: int, first: str, indent: int) -> list[str]:
    """Return a text in lines of a width; words longer than that stay whole, so that they can be copied.

    Args:
        text: Of one paragraph.
        width: Columns of the terminal.
        first: What the first line begins with.
        indent: Columns before all other lines.
    """
    return textwrap.wrap(
        text,
        max(width, _LEAST_WIDTH),
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def _facts(metadata: ModelMetadata, *, shows_tensors: bool) -> Iterator[tuple[str, str]]:
    yield "State", metadata.state + ", answers requests that name no version" * metadata.is_default
    if metadata.error:
        yield "Reason", metadata.error
    if metadata.labels:
        yield "Labels", ", ".join(metadata.labels)
    has_own_sizes = len(set(metadata.ladders)) > 1
    for index, spec in enumerate(metadata.signatures):
        is_default = spec.name == metadata.default_signature
        runner = metadata.runners[index] if metadata.runners else metadata.runner * is_default
        default = ", the default" * (is_default and len(metadata.signatures) > 1)
        yield "Signature", f"{spec.name}{default}" + (f", runs as {runner}" if runner else "")
        if shows_tensors:
            yield from (("  input", f"{tensor.name} {tensor}") for tensor in spec.inputs)
            yield from (("  output", f"{tensor.name} {tensor}") for tensor in spec.outputs)
        if has_own_sizes:
            yield "  batches", _sizes_text(metadata.batch_sizes_of(spec.name))
    if metadata.signatures:
        if not has_own_sizes:
            yield "Batch sizes", _sizes_text(metadata.batch_sizes)
        yield "Parameters", _weights_text(metadata)
        yield "Memory", _memory_text(metadata)
        yield "Loaded in", _durations_text(metadata)
        yield "Gate", metadata.gate or "no golden samples"
    for note in (*metadata.notes, *metadata.model_notes):
        yield "Note", note
    if metadata.source:
        yield "Source", metadata.source + (f" ({metadata.format})" if metadata.format else "")
    if metadata.digest.startswith(_DIGEST_KIND):
        # Without the kind in front a line holds it.
        yield "SHA-256", metadata.digest.removeprefix(_DIGEST_KIND)
    elif metadata.digest:
        yield "Digest", metadata.digest


def _sizes_text(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes)) or "rows of several requests are not merged"


def _weights_text(metadata: ModelMetadata) -> str:
    count = "unknown" if metadata.parameters is None else count_text(metadata.parameters)
    return count if metadata.weight_bytes is None else f"{count} ({bytes_text(metadata.weight_bytes)} of weights)"


def _memory_text(metadata: ModelMetadata) -> str:
    if metadata.memory_bytes is None:
        return "unknown"
    return f"{bytes_text(metadata.memory_bytes)} more in the process after the load"


def _durations_text(metadata: ModelMetadata) -> str:
    traced = f"; {counted(metadata.traces, 'graph')} traced" if metadata.traces else ""
    return f"{seconds_text(metadata.load_ms)}, warmed up in {seconds_text(metadata.warmup_ms)}{traced}"
