"""Whole replies: those of a run whose requests were not cut and whose outputs are small, which is nearly all of them.

Owns the short way from output arrays to replies: what replies of one kind share is packed once per signature. Pure;
pump thread only. Whatever it does not take goes the ordinary way through `replies.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from predictd_proto.reply_template import ReplyTemplate, fits_template, run_facts
from predictd_proto.tensors import Tensor
from predictd_server.serving.assembly import OutputRows
from predictd_server.serving.batch import Batch, Run
from predictd_server.serving.pending import Pending
from predictd_server.serving.served import ServedSignature

#: Kinds of replies remembered per signature; one for each number of rows, and each shape where axes are free.
MOST_TEMPLATES = 256


def whole_replies(run: Run, batch: Batch, queued_rows: int) -> list[tuple[Pending, bytes]] | None:
    """Return a run's replies with their requests, in order; None when it must go the ordinary way.

    Args:
        run: It went well.
        batch: The batch it ran.
        queued_rows: Rows that wait now.
    """
    signature = run.parts[0].request.signature
    # An answer that is to be kept or shared is needed by itself.
    if not signature.has_fixed_outputs or run.outputs is None or signature.is_cached:
        return None
    started = perf_counter()
    most_rows = 0
    for part in run.parts:
        request = part.request
        if part.rows != request.rows or request.cuts is not None:
            return None
        if part.rows > most_rows:  # noqa: PLR1730  (`max` takes 0.1 microseconds longer)
            most_rows = part.rows
    if not fits_template([most_rows * (array.nbytes // max(run.size, 1)) for array in run.outputs]):
        return None
    cutters = [
        OutputRows(spec.name, spec.dtype, array)
        for spec, array in zip(signature.spec.outputs, run.outputs, strict=True)
    ]
    split_s = perf_counter() - started
    facts = run_facts(
        (_ms(run.assemble_s), _ms(run.execute_s), _ms(split_s)),
        (run.rows, run.size - run.rows, 1, queued_rows),
        batch.closed_by,
    )
    return _joined(run, signature, cutters, facts)


def _joined(
    run: Run, signature: ServedSignature, cutters: list[OutputRows], facts: bytes
) -> list[tuple[Pending, bytes]]:
    replies: list[tuple[Pending, bytes]] = []
    only = cutters[0] if len(cutters) == 1 else None
    template, of_run, template_rows = None, b"", 0
    position = 0
    for part in run.parts:
        request, rows = part.request, part.rows
        if template is None or rows != template_rows:
            template, template_rows = _template(signature, cutters, rows), rows
            of_run = template.of_run(facts)
        data = (only.data(position, rows),) if only else [cutter.data(position, rows) for cutter in cutters]
        replies.append((request, template.frame(request.id, request.queue_s * 1000, of_run, data)))
        position += rows
    return replies


def _template(signature: ServedSignature, cutters: list[OutputRows], rows: int) -> ReplyTemplate:
    key = (rows, *[cutter.row_shape for cutter in cutters]) if signature.has_free_outputs else rows
    return signature.reply_templates.get(key) or template_of(
        signature, key, [cutter.rows(0, rows) for cutter in cutters]
    )


def template_of(signature: ServedSignature, key: object, outputs: Sequence[Tensor]) -> ReplyTemplate:
    """Return the template of replies of one kind.

    Args:
        signature: Whose replies.
        key: The kind: whatever tells outputs of other names, dtypes, shapes or sizes apart.
        outputs: Those of any such reply.
    """
    templates = signature.reply_templates
    template = templates.get(key)
    if template is None:
        if len(templates) >= MOST_TEMPLATES:
            templates.pop(next(iter(templates)))
        template = templates[key] = ReplyTemplate(signature.model, signature.version, outputs)
    return template


def _ms(seconds: float) -> float:
    return seconds * 1000
