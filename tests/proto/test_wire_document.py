"""`WIRE.md` and the code say the same: types, keys, defaults, dtypes, limits, error codes and examples, both ways."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from predictd_proto import facts, frames, limits, messages, structures, tensors
from predictd_proto.dtypes import DTYPE_BYTES, STRING
from predictd_proto.endpoints import CONTROL_SUFFIX, MAX_IPC_PATH_BYTES, Endpoint
from predictd_proto.errors import ERROR_CLASSES, RetryableError
from predictd_proto.frames import MESSAGE_TYPES
from predictd_proto.limits import DEFAULT_LIMITS, Limits
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.plain import to_plain
from predictd_proto.receipt import Receipt
from predictd_proto.segments import SegmentLimits
from predictd_proto.status import ServerStatus
from predictd_proto.tensors import TensorSpec
from predictd_proto.version import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION
from tests.proto.samples import MESSAGES, golden_frames, read_hex

DOCUMENT = (Path(__file__).parents[2] / "proto" / "WIRE.md").read_text(encoding="utf-8")
MAPS = (*MESSAGE_TYPES.values(), Receipt, ModelMetadata, SignatureSpec, TensorSpec, ServerStatus, Limits, SegmentLimits)


def section(title: str) -> str:
    """Return what stands under a heading, down to the next one."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert match, f"WIRE.md has no section {title!r}"
    return match[1]


def table(title: str, index: int = 0) -> list[dict[str, str]]:
    """Return a section's table as one dict per row, by column; back quotes are taken off."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", section(title), re.MULTILINE)
    head, _, *rows = [
        [cell.strip().strip("`") for cell in line.strip("|\n").split("|")] for line in blocks[index].splitlines()
    ]
    return [dict(zip(head, row, strict=True)) for row in rows]


def columns(title: str, key: str, value: str, index: int = 0) -> dict[str, str]:
    rows = table(title, index)
    found = {row[key]: row[value] for row in rows}
    assert len(found) == len(rows), f"{title}: a row is there twice"
    return found


def default_of(item: Any) -> str:
    if item.default is item.default_factory is MISSING:
        return "required"
    value = item.default_factory() if item.default is MISSING else item.default
    if is_dataclass(value):
        return "the defaults"
    return "nil" if value is None else json.dumps(to_plain(value))


def test_message_types() -> None:
    assert columns("4 Message types", "Type", "Name") == {
        str(number): cls.__name__ for number, cls in MESSAGE_TYPES.items()
    }


def test_senders_and_versions_of_message_types() -> None:
    for row in table("4 Message types"):
        number = int(row["Type"])
        assert (row["Sent by"] == "client") == (number in frames._OF_CLIENTS)
        assert (row["Sent by"] == "server") == (number in frames._OF_SERVERS)
        assert (row["Read under any version"] == "yes") == (number in frames._ANY_VERSION)


@pytest.mark.parametrize("cls", MAPS, ids=lambda cls: cls.__name__)
def test_keys_and_defaults(cls: Any) -> None:
    assert columns(cls.__name__, "Key", "Default") == {item.name: default_of(item) for item in fields(cls)}


@pytest.mark.parametrize("cls", MAPS, ids=lambda cls: cls.__name__)
def test_units_are_said(cls: Any) -> None:
    for row in table(cls.__name__):
        if row["Type"].startswith("duration"):
            unit = row["Key"].rpartition("_")[2]
            words = {"ms": r"\bms\b", "s": r"\bseconds\b"}
            assert re.search(words[unit], row["Meaning"]), row


def test_dtypes() -> None:
    sizes = {name: str(size) for name, size in DTYPE_BYTES.items()}
    assert columns("Dtypes", "Dtype", "Bytes per element") == {**sizes, STRING: "variable"}


def test_default_limits() -> None:
    announced = {item.name: str(getattr(DEFAULT_LIMITS, item.name)) for item in fields(Limits)}
    assert columns("Limits", "Key", "Default") == announced


def test_fixed_bounds() -> None:
    rows = columns("Limits", "Bound", "Number", index=1)
    modules = (messages, tensors, facts, structures, limits)
    found = {
        name: str(value)
        for module in modules
        for name, value in vars(module).items()
        if name.startswith(("MAX_", "INLINE_")) and isinstance(value, int)
    }
    assert rows == {name: value for name, value in found.items() if name != "MAX_VERSION"}


def test_error_codes() -> None:
    assert columns("9 Errors", "Code", "Class") == {code: cls.__name__ for code, cls in ERROR_CLASSES.items()}
    retryable = {code: "yes" if issubclass(cls, RetryableError) else "no" for code, cls in ERROR_CLASSES.items()}
    assert columns("9 Errors", "Code", "Retryable") == retryable


def test_version() -> None:
    assert DOCUMENT.startswith(f"# The predictd wire protocol, version {PROTOCOL_VERSION}\n")
    assert OLDEST_PROTOCOL_VERSION <= PROTOCOL_VERSION <= messages.MAX_VERSION


def test_envelope() -> None:
    rows = table("2 Frames", index=1)
    assert [row["Offset"] for row in rows] == ["0", "2", "3", str(frames.ENVELOPE_BYTES)]
    assert frames.MARKER.hex(" ") in rows[0]["Value"]


def test_addresses() -> None:
    text = section("1 Sockets")
    assert f"{MAX_IPC_PATH_BYTES - len(CONTROL_SUFFIX)} bytes" in text
    assert f"({MAX_IPC_PATH_BYTES} bytes)" in text
    assert Endpoint.parse("ipc:///PATH").control == "ipc:///PATH" + CONTROL_SUFFIX
    assert f"`ipc://PATH{CONTROL_SUFFIX}`" in text
    assert Endpoint.parse("tcp://HOST:65534").control == "tcp://HOST:65535"


EXAMPLES = re.findall(r"^`(\w+)`[^\n]*\n\n```hex\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_each_golden_message_is_an_example() -> None:
    assert sorted(name for name, _ in EXAMPLES) == sorted(MESSAGES)
    assert DOCUMENT.count("```hex") == len(EXAMPLES)


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_examples_are_the_golden_bytes(name: str, text: str) -> None:
    assert read_hex(text) == golden_frames(name)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(#([^)]+)\)", DOCUMENT))))
def test_links_lead_somewhere(target: str) -> None:
    headings = re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    assert target in anchors
