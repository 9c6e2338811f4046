"""What is written of a run: what was asked about which inputs, and what has come out.

Owns `manifest.json`'s content and the comparison of a run with the one before; the file is `folder.py`'s. The thread
that runs the scoring.

    format, question       the model, its version, digest and signature, `on_error` and how chunks are cut
    inputs                 by name: SHA-256, bytes, rows, kind, a .csv's header, the name of the output
    outputs                by name: the input and its SHA-256; the output's SHA-256, bytes, rows, number of bad rows
    bad_rows               where each bad row is and why, in the order of `outputs`
    is_complete            whether all inputs' outputs are there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from predictd_celery.scoring.formats.spans import Limits
from predictd_celery.scoring.inputs import InputFile
from predictd_celery.scoring.questions import Question
from predictd_proto.errors import ScoreError

_SHORT = 16


@dataclass(frozen=True, slots=True)
class Output:
    """What came out of one input.

    Attributes:
        source: The input's name.
        source_sha256: The input's digest.
        sha256: Its own.
        byte_count: Its size.
        rows: How many rows it has.
        bad: The input's bad rows, as a person looks for them.
    """

    source: str
    source_sha256: str
    sha256: str
    byte_count: int
    rows: int
    bad: tuple[str, ...]


def about(question: Question, files: Sequence[InputFile], limits: Limits) -> dict[str, Any]:
    """Return what a run is about."""
    inputs: dict[str, dict[str, Any]] = {
        file.name: {
            "sha256": file.scan.sha256,
            "bytes": file.scan.byte_count,
            "rows": file.rows,
            "kind": file.kind,
            "output": file.output,
        }
        for file in files
    }
    for file in files:
        if file.scan.has_header is not None:
            inputs[file.name]["header"] = file.scan.has_header
    chunk = {"chunk_rows": limits.rows, "chunk_bytes": limits.byte_count, "header": limits.header}
    return {"question": {**question.to_fields(), **chunk}, "inputs": inputs}


def with_outputs(
    about: Mapping[str, Any], outputs: Mapping[str, Output], *, is_complete: bool, bad: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a manifest.

    Args:
        about: What the run is about.
        outputs: What has come out.
        is_complete: Whether that is all.
        bad: Bad rows of inputs that nothing came out of.
    """
    fields = {
        name: {
            "input": one.source,
            "input_sha256": one.source_sha256,
            "rows": one.rows,
            "bad_rows": len(one.bad),
            "sha256": one.sha256,
            "bytes": one.byte_count,
        }
        for name, one in outputs.items()
    }
    listed = [*(text for one in outputs.values() for text in one.bad), *bad]
    return {**about, "is_complete": is_complete, "outputs": fields, "bad_rows": listed}


def outputs_of(manifest: Mapping[str, Any]) -> dict[str, Output]:
    """Return what has come out, by name."""
    found, first = {}, 0
    for name, one in manifest["outputs"].items():
        last = first + one["bad_rows"]
        bad = tuple(manifest["bad_rows"][first:last])
        found[name] = Output(one["input"], one["input_sha256"], one["sha256"], one["bytes"], one["rows"], bad)
        first = last
    return found


def names_of(manifest: Mapping[str, Any] | None) -> set[str]:
    """Return the names of all outputs that a folder's run has written, or was about to write."""
    if manifest is None:
        return set()
    return {*manifest["outputs"], *(one["output"] for one in manifest["inputs"].values())}


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], *, is_change_fine: bool) -> None:
    """Check that a folder's run is the one that is to go on.

    Args:
        before: What its manifest says.
        now: What is asked for.
        is_change_fine: Whether changed inputs are scored anew; what is unchanged is kept.

    Raises:
        ScoreError: It is another one; the text says in what.
    """
    asked, asks = before["question"], now["question"]
    changes = [f"{name} was {asked.get(name)!r}, now {asks[name]!r}" for name in asks if asked.get(name) != asks[name]]
    if changes:
        message = (
            f"the folder holds a run about something else: {'; '.join(changes)}. Nothing is mixed: take another "
            f"folder, or go on with --version {asked.get('version')} and the same options"
        )
        raise ScoreError(message)
    changed = sorted(
        name for name in {*before["inputs"], *now["inputs"]} if before["inputs"].get(name) != now["inputs"].get(name)
    )
    if changed and not is_change_fine:
        told = [_what(name, before, now) for name in changed]
        message = (
            f"inputs have changed since this folder's run began: {', '.join(told)}. "
            "--rescore-changed scores these anew and keeps what is done of the others; or take another folder"
        )
        raise ScoreError(message)


def _what(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    old, new = before["inputs"].get(name), now["inputs"].get(name)
    if old is None or new is None:
        return f"{name} (new)" if old is None else f"{name} (no longer asked for; its output stays)"
    return f"{name} (sha256 {old['sha256'][:_SHORT]}, now {new['sha256'][:_SHORT]})"
