"""Orders to fakes: load, unload, label and reload, done by changing what the fake models say of themselves.

Owns that. A test sees the same states, labels and errors as of a daemon; nothing is loaded. Any thread.
"""

from __future__ import annotations

from predictd.testing.models import AVAILABLE, FAILED, READY, FakeModel
from predictd.testing.shelf import Shelf
from predictd_proto.errors import ModelLoadError, VersionNotFoundError
from predictd_proto.orders import LabelRequest, LoadRequest, OrderRequest, OrderResponse, ReloadRequest, UnloadRequest


def carry_out(order: OrderRequest, shelf: Shelf) -> OrderResponse:
    """Carry out an order on the models of a shelf.

    Raises:
        ModelNotFoundError, VersionNotFoundError: There is no such model, version or label, or it isn't ready for one.
        ModelLoadError: It is declared as one that can't be loaded.
    """
    name = order.model
    there = shelf.metadata(name)  # raises where there is no such model
    if isinstance(order, ReloadRequest):
        done = [text for model in sorted(shelf, key=str) if name in {None, model.name} for text in _load(model)]
    elif isinstance(order, LoadRequest):
        done = _load(_version(shelf, order.model, there[0].version if order.version is None else order.version))
    elif isinstance(order, UnloadRequest):
        models = [model for model in shelf if model.name == name] if order.version is None else []
        done = [_unload(model) for model in models or [_version(shelf, order.model, order.version)]]
    else:
        done = [_label(shelf, order)]
    return OrderResponse(id=order.id, done=tuple(done), models=shelf.metadata(name))


def _version(shelf: Shelf, name: str, version: int | None) -> FakeModel:
    try:
        return shelf.get(name, version)
    except KeyError:
        have = ", ".join(str(model.version) for model in shelf if model.name == name)
        text = f"model {name!r} has no version {version} to load or unload; there are: {have}"
        raise VersionNotFoundError(text) from None


def _load(model: FakeModel) -> list[str]:
    label = f"model {model.name} version {model.version}"
    if model.state == FAILED:
        text = f"{label}: {model.error or 'this fake is declared as one that fails'}"
        raise ModelLoadError(text)
    if model.state == READY:
        return [f"{label}: was ready before"]
    model.state = READY
    return [f"{label} is ready"]


def _unload(model: FakeModel) -> str:
    if model.state != FAILED:
        model.state = AVAILABLE
    return f"model {model.name} version {model.version}: unloaded"


def _label(shelf: Shelf, order: LabelRequest) -> str:
    label, name = order.label, order.model
    if order.version is not None and _version(shelf, name, order.version).state != READY:
        text = f"model {name!r}: the label {label!r} can't point at version {order.version}, which is not loaded"
        raise VersionNotFoundError(text)
    versions = [model for model in shelf if model.name == name]
    if order.version is None and not any(label in model.labels for model in versions):
        have = ", ".join(sorted(repr(other) for model in versions for other in model.labels)) or "none"
        text = f"model {name!r} has no label {label!r}; it has {have}"
        raise VersionNotFoundError(text)
    for model in versions:
        others = tuple(other for other in model.labels if other != label)
        model.labels = (*others, label) if model.version == order.version else others
    return f"model {name}: the label {label!r} " + (
        "is gone" if order.version is None else f"points at version {order.version}"
    )
