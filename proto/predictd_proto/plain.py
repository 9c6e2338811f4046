"""Dataclasses <-> plain maps, lists and scalars, as msgpack and JSON carry them.

Owns the generic walk that the rare messages use. Unknown keys are ignored, so that a newer peer may add some. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from predictd_proto.checks import shown
from predictd_proto.errors import LocalProtocolError
from predictd_proto.limits import Limits
from predictd_proto.messages import MetadataResponse, StatusResponse, Welcome
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.status import ServerStatus
from predictd_proto.tensors import TensorSpec

#: Fields that hold another dataclass.
_ONE: dict[tuple[type, str], type] = {
    (Welcome, "limits"): Limits,
    (StatusResponse, "status"): ServerStatus,
}

#: Fields that hold a tuple of dataclasses.
_MANY: dict[tuple[type, str], type] = {
    (MetadataResponse, "models"): ModelMetadata,
    (ServerStatus, "models"): ModelMetadata,
    (ModelMetadata, "signatures"): SignatureSpec,
    (SignatureSpec, "inputs"): TensorSpec,
    (SignatureSpec, "outputs"): TensorSpec,
}

#: Fields that hold a tuple of scalars.
_TUPLES = frozenset(
    (
        (Welcome, "models"),
        (ModelMetadata, "labels"),
        (ModelMetadata, "batch_sizes"),
        (TensorSpec, "shape"),
    )
)


def to_plain(value: object) -> Any:
    """Return dataclasses as maps and tuples as lists, all the way down."""
    if is_dataclass(value):
        return {name: to_plain(getattr(value, name)) for name in _fields_of(type(value)).names}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def from_plain(cls: type, header: object) -> Any:
    """Return a map as an instance of a message class.

    Raises:
        LocalProtocolError: A field is missing or wrong.
        ValueError: A limit is wrong.
    """
    if not isinstance(header, Mapping):
        text = f"a {cls.__name__} is a map, got {shown(header)}"
        raise LocalProtocolError(text)
    values = known_fields(cls, header)
    return cls(**{name: _field_value(cls, name, value) for name, value in values.items()})


def _field_value(cls: type, name: str, value: Any) -> Any:
    key = (cls, name)
    one = _ONE.get(key)
    if one is not None:
        return from_plain(one, value)
    if type(value) is not list:
        return value
    many = _MANY.get(key)
    if many is not None:
        return tuple([from_plain(many, item) for item in value])
    return tuple(value) if key in _TUPLES else value


def known_fields(cls: type, header: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entries of a map that the class has fields for.

    Raises:
        LocalProtocolError: A field without a default is missing.
    """
    of = _fields_of(cls)
    if not of.required <= header.keys():
        missing = ", ".join(sorted(of.required - header.keys()))
        text = f"a {cls.__name__} without {missing}"
        raise LocalProtocolError(text)
    if header.keys() <= of.known:
        return header
    return {key: value for key, value in header.items() if key in of.known}


def changed_fields(value: object) -> dict[str, Any]:
    """Return a flat dataclass as a map without the fields that hold their default."""
    of = _fields_of(type(value))
    entries = zip(of.names, of.defaults, of.values_of(value), strict=True)
    return {name: item for name, default, item in entries if item != default}


@dataclass(frozen=True, slots=True)
class _Fields:
    """What is known of a class's fields.

    Attributes:
        names: In order.
        known: The same as a set.
        required: Those without a default.
        defaults: In order; a field without one has `MISSING`, which equals nothing, and so is always written.
        values_of: Reads all of an instance in one call.
    """

    names: tuple[str, ...]
    known: frozenset[str]
    required: frozenset[str]
    defaults: tuple[Any, ...]
    values_of: Callable[[object], tuple[Any, ...]]


@cache
def _fields_of(cls: type) -> _Fields:
    items = fields(cls)
    names = tuple([item.name for item in items])
    required = [
        item.name
        for item in items
        if item.default is MISSING and item.default_factory is MISSING
    ]
    defaults = tuple([item.default for item in items])
    return _Fields(names, frozenset(names), frozenset(required), defaults, attrgetter(*names))
