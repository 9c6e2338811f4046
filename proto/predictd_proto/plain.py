"""Dataclasses <-> plain maps, lists and scalars, as msgpack and JSON carry them.

Owns the generic walk that the rare messages use. Unknown keys are ignored, so that a newer peer may add some. Any
thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from predictd_proto.checks import shown
from predictd_proto.errors import LocalProtocolError
from predictd_proto.limits import Limits
from predictd_proto.messages import MetadataResponse, OrderResponse, StatusResponse, Welcome
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.segments import SegmentLimits
from predictd_proto.status import ServerStatus
from predictd_proto.tensors import TensorSpec

#: Fields that hold another dataclass.
_ONE: dict[tuple[type[Any], str], type[Any]] = {
    (Welcome, "limits"): Limits,
    (Welcome, "segments"): SegmentLimits,
    (StatusResponse, "status"): ServerStatus,
}

#: Those of them that may hold nothing.
_OPTIONAL = frozenset(((Welcome, "segments"),))

#: Fields that hold a tuple of dataclasses.
_MANY: dict[tuple[type[Any], str], type[Any]] = {
    (MetadataResponse, "models"): ModelMetadata,
    (OrderResponse, "models"): ModelMetadata,
    (ServerStatus, "models"): ModelMetadata,
    (ModelMetadata, "signatures"): SignatureSpec,
    (SignatureSpec, "inputs"): TensorSpec,
    (SignatureSpec, "outputs"): TensorSpec,
}

#: Fields that hold a tuple of scalars.
_TUPLES = frozenset(
    (
        (Welcome, "models"),
        (OrderResponse, "done"),
        (ModelMetadata, "labels"),
        (ModelMetadata, "batch_sizes"),
        (ModelMetadata, "runners"),
        (ModelMetadata, "notes"),
        (ModelMetadata, "model_notes"),
        (TensorSpec, "shape"),
    )
)

#: Fields that hold a tuple of tuples of scalars.
_NESTED = frozenset(((ModelMetadata, "ladders"),))

#: Filled at the first use of each class: `dataclasses.fields` takes a microsecond.
_FIELDS: dict[type[Any], _Fields] = {}


def to_plain(value: object) -> Any:
    """Return dataclasses as maps and tuples as lists, all the way down."""
    if is_dataclass(value):
        return {name: to_plain(getattr(value, name)) for name in _fields_of(type(value)).names}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def from_plain(cls: type[Any], header: object) -> Any:
    """Return a map as an instance of a message class.

    Raises:
        LocalProtocolError: A field is missing or wrong.
        ValueError: A limit is wrong.
    """
    if not isinstance(header, Mapping):
        text = f"a {cls.__name__} is a map, got {shown(header)}"
        raise LocalProtocolError(text)
    missing = [name for name in _fields_of(cls).required if name not in header]
    if missing:
        text = f"a {cls.__name__} without {', '.join(missing)}"
        raise LocalProtocolError(text)
    return cls(**{name: _field_value(cls, name, header[name]) for name in _fields_of(cls).names if name in header})


def _field_value(cls: type[Any], name: str, value: Any) -> Any:
    key = (cls, name)
    one = _ONE.get(key)
    if one is not None:
        return None if value is None and key in _OPTIONAL else from_plain(one, value)
    if type(value) is not list:
        return value
    many = _MANY.get(key)
    if many is not None:
        return tuple([from_plain(many, item) for item in value])
    if key in _NESTED:
        return tuple([tuple(item) if type(item) is list else item for item in value])
    return tuple(value) if key in _TUPLES else value


@dataclass(frozen=True, slots=True)
class _Fields:
    names: tuple[str, ...]
    required: tuple[str, ...]


def _fields_of(cls: type[Any]) -> _Fields:
    found = _FIELDS.get(cls)
    if found is None:
        items = fields(cls)
        required = [item.name for item in items if item.default is item.default_factory is MISSING]
        found = _FIELDS[cls] = _Fields(tuple([item.name for item in items]), tuple(required))
    return found
