"""Notes on a version that is about to be served: settings that do less for it than they seem to.

Owns what can only be told once the model's inputs and outputs are known; what is certain before that is refused at the
start. Loader thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from predictd_server.serving.admission import kept_rows
from predictd_server.serving.caller_class import CallerClasses
from predictd_server.serving.response_cache import least_bytes
from predictd_server.serving.served import ServedSignature
from predictd_server.trials.free_axes import note_on


def serving_notes(signatures: Mapping[str, ServedSignature]) -> Iterator[str]:
    """Yield what an operator should know of a model's settings.

    Args:
        signatures: The model's, at least one.
    """
    settings = next(iter(signatures.values())).settings
    if settings.lengths and all(signature.lengths is None for signature in signatures.values()):
        yield (
            f"lengths = {list(settings.lengths)} has no effect: no input of it has a free axis but the rows'; "
            "remove it from this model's settings"
        )
    if settings.max_batch_elements is not None and all(signature.lengths is None for signature in signatures.values()):
        yield (
            f"max_batch_elements = {settings.max_batch_elements} has no effect: all rows of it are alike; set "
            "max_batch_size instead"
        )
    for signature in signatures.values():
        note = note_on(signature.axes, signature.spec)
        if note:
            yield note
        if settings.cache_bytes:
            yield from _cache_notes(signature, settings.cache_bytes)


def class_notes(
    signatures: Mapping[str, ServedSignature], classes: CallerClasses, max_queue_rows: int
) -> Iterator[str]:
    """Yield which classes of callers may be shut out though half of the queue is kept for the classes.

    Args:
        signatures: The model's, at least one.
        classes: The classes of callers; none where all are treated alike.
        max_queue_rows: The rows of a model that may wait, where its own settings don't say.
    """
    settings = next(iter(signatures.values())).settings
    max_rows = max_queue_rows if settings.max_queue_rows is None else settings.max_queue_rows
    # Where rows of several requests can't share a run there is no largest request.
    most_rows = max([signature.most_counted_rows if signature.sizes else 1 for signature in signatures.values()])
    short = {each.name: kept for each in classes.all if (kept := kept_rows(max_rows, classes, each)) < most_rows}
    if short:
        told = ", ".join(f"{rows} for {name!r}" for name, rows in short.items())
        yield (
            f"of max_queue_rows = {max_rows} fewer rows are kept than one request of {most_rows} counts ({told}): "
            "while other classes fill the queue, such a request may be refused; raise max_queue_rows or these weights"
        )


def _cache_notes(signature: ServedSignature, cache_bytes: int) -> Iterator[str]:
    name, least = signature.spec.name, least_bytes(signature)
    if not signature.is_repeatable:
        yield (
            f"signature {name!r}: cache_bytes has no effect: it was not seen to answer the same input the same way "
            "twice without changing anything"
        )
    elif cache_bytes < least:
        yield (
            f"signature {name!r}: cache_bytes = {cache_bytes} keeps none of its answers: the smallest takes {least} "
            "bytes; make it thousands of times that, or remove it"
        )
