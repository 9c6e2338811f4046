"""Frozen graphs, seen from outside: whether a `.pb` file is a whole GraphDef.

Owns the walk over a protobuf message's outermost fields, whose lengths must add up to the file's. It knows the few
field numbers of `tensorflow/core/framework/graph.proto` and imports no TensorFlow. Main thread at the
start, the models thread from then on: each look calls it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from predictd_proto.errors import ModelLoadError

_VARINT, _FIXED_8_BYTES, _LENGTH, _FIXED_4_BYTES = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED_8_BYTES: 8, _FIXED_4_BYTES: 4}
_MOST_VARINT_BYTES = 10
_MORE = 0x80
#: GraphDef: nodes, library, version, versions, debug information; by field number, the wire types that they may have.
_GRAPH_FIELDS = {1: _LENGTH, 2: _LENGTH, 3: _VARINT, 4: _LENGTH, 5: _LENGTH}
_NODE = 1
#: NodeDef: name, op, inputs, device, attributes, and two more that TensorFlow has added.
_NODE_FIELDS = dict.fromkeys(range(1, 8), _LENGTH)
_NAME, _OP = 1, 2
#: SavedModel begins with its schema's version, which GraphDef never does.
_SAVED_MODEL_BEGINNING = b"\x08\x01\x12"


class _NotAMessageError(Exception):
    """The bytes are not the message they were read as; the text says where."""


def check_frozen_graph(path: Path) -> None:
    """Check that a file is a binary GraphDef from its first byte to its last; nodes but the first are not looked into.

    Raises:
        ModelLoadError: It is something else, or cut short.
    """
    with path.open("rb") as file:
        if file.read(len(_SAVED_MODEL_BEGINNING)) == _SAVED_MODEL_BEGINNING:
            text = f"{path}: is a SavedModel's graph, expected a frozen one; name the directory it is in: {path.parent}"
            raise ModelLoadError(text)
        file.seek(0)
        try:
            _check_graph(file, os.fstat(file.fileno()).st_size)
        except _NotAMessageError as error:
            text = (
                f"{path}: not a whole frozen graph: expected a binary GraphDef, got {error}; write it again with "
                "tf.io.write_graph(graph_def, directory, name, as_text=False), or repeat the copy"
            )
            raise ModelLoadError(text) from None


def _check_graph(file: IO[bytes], end: int) -> None:
    has_nodes = False
    for number, begin, length in _fields(file, end, _GRAPH_FIELDS):
        if number == _NODE and not has_nodes:
            has_nodes = True
            file.seek(begin)
            _check_node(file, begin + length)
    if not has_nodes:
        text = "a message without nodes"
        raise _NotAMessageError(text)


def _check_node(file: IO[bytes], end: int) -> None:
    found = {number for number, _, _ in _fields(file, end, _NODE_FIELDS)}
    if not {_NAME, _OP} <= found:
        text = "a first node without a name or an operation"
        raise _NotAMessageError(text)


def _fields(file: IO[bytes], end: int, expected: dict[int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield each field's number, where its contents begin, and their length; whoever takes one may move the file."""
    position = file.tell()
    while position < end:
        file.seek(position)
        key = _varint(file)
        number, wire_type = key >> 3, key & 7
        if expected.get(number) != wire_type:
            text = f"field {number} of type {wire_type} at byte {position}"
            raise _NotAMessageError(text)
        length = _varint(file) if wire_type == _LENGTH else _FIXED_BYTES.get(wire_type, 0)
        if wire_type == _VARINT:
            _varint(file)
        begin = file.tell()
        position = begin + length
        if position > end:
            text = f"a field at byte {begin} that would end at byte {position} of {end}: it may be cut short"
            raise _NotAMessageError(text)
        yield number, begin, length


def _varint(file: IO[bytes]) -> int:
    value = 0
    for index in range(_MOST_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            text = f"an end within a number, at byte {file.tell()}: it may be cut short"
            raise _NotAMessageError(text)
        value |= (byte[0] & ~_MORE) << (7 * index)
        if not byte[0] & _MORE:
            return value
    text = f"a number without an end at byte {file.tell()}"
    raise _NotAMessageError(text)
