"""The shelf: the models that a fake serves, by name and version.

Owns which there are, and the choice among them by the rule that clients and the daemon follow. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from predictd.requests.catalogue import choose_plan
from predictd.testing.models import READY, FakeModel
from predictd_proto.errors import (
    ConfigError,
    InvalidRequestError,
    ModelNotFoundError,
    PredictdError,
    TensorMismatchError,
)
from predictd_proto.messages import PredictRequest
from predictd_proto.metadata import ModelMetadata, SignatureSpec


class Shelf:
    """Models by name and version.

    Args:
        models: What is on it at first.
        see: What clients get to see of a model's metadata; faults change it.
    """

    def __init__(self, models: Iterable[object], see: Callable[[ModelMetadata], ModelMetadata]) -> None:
        self._models: tuple[FakeModel, ...] = ()
        self._kept: dict[FakeModel, Callable[[], None]] = {}
        self._see = see
        for model in models:
            self.put(model)

    def __iter__(self) -> Iterator[FakeModel]:
        return iter(self._models)

    def put(self, model: object) -> None:
        """Serve a model, in place of one of that name and version.

        Raises:
            ConfigError: It is no `FakeModel`.
        """
        if not isinstance(model, FakeModel):
            text = (
                f"a fake serves FakeModel objects, got a {type(model).__name__}: {model!r}. Of a function, make one by "
                "FakeModel.from_function(function, example)"
            )
            raise ConfigError(text)
        self._keep(model)
        self._models = (*self._without(model.name, model.version), model)

    def remove(self, name: str, version: int | None = None) -> None:
        """Serve a model, or one version of it, no longer."""
        self._models = self._without(name, version)

    def replace(self, models: Iterable[FakeModel]) -> None:
        """Serve these and nothing else."""
        self._models = tuple(models)
        for model in self._models:
            self._keep(model)

    def get(self, name: str, version: int | None = None) -> FakeModel:
        """Return a model, its newest version unless one is named.

        Raises:
            KeyError: There is none.
        """
        found = [m for m in self._models if m.name == name and version in {None, m.version}]
        if not found:
            raise KeyError(name)
        return max(found, key=lambda model: model.version)

    def names(self) -> tuple[str, ...]:
        """Return the names of all models."""
        return tuple(sorted({model.name for model in self._models}))

    def metadata(self, name: str | None = None) -> tuple[ModelMetadata, ...]:
        """Return every version of one model, or of all, newest first.

        Raises:
            ModelNotFoundError: There is no model of that name.
        """
        found = [self._see(model.metadata) for model in self._models if name in {None, model.name}]
        if name is not None and not found:
            raise self._unknown(name)
        return tuple(sorted(found, key=lambda metadata: (metadata.name, -metadata.version)))

    def find(self, request: PredictRequest) -> tuple[ModelMetadata, SignatureSpec, object]:
        """Return the version and signature that a request means, and the answer to it.

        Raises:
            PredictdError: There is no such thing, or it is not ready.
        """
        plan = choose_plan(self.metadata(request.model), (request.model, request.version, request.signature))
        model = self.get(plan.metadata.name, plan.metadata.version)
        return plan.metadata, plan.spec, model.signatures[plan.spec.name].answer

    def declared(self, request: PredictRequest) -> SignatureSpec | None:
        """Return the signature that a request means, of a model that is not ready too; None where there is none."""
        models = [replace(model.metadata, state=READY) for model in self._models if model.name == request.model]
        models.sort(key=lambda metadata: -metadata.version)
        try:
            return choose_plan(models, (request.model, request.version, request.signature)).spec
        except PredictdError:
            return None

    def restore(self) -> None:
        """Give every model back as it was when it was put up: what a test changes is no matter of the next one."""
        kept, self._kept = self._kept, {}
        for put_back in kept.values():
            put_back()

    def _keep(self, model: FakeModel) -> None:
        if model not in self._kept:
            self._kept[model] = model.keep()

    def _without(self, name: str, version: int | None) -> tuple[FakeModel, ...]:
        return tuple([m for m in self._models if m.name != name or version not in {None, m.version}])

    def _unknown(self, name: str) -> PredictdError:
        have = ", ".join(map(repr, self.names())) or "none"
        text = (
            f"no model {name!r} is served by this fake of predictd.testing; there are: {have}. Give it to the fake: "
            f"FakeModel({name!r}, inputs=..., outputs=...)"
        )
        return ModelNotFoundError(text, {"model": name})


def check_tensors(label: str, spec: SignatureSpec, request: PredictRequest) -> int:
    """Check a request against its signature as the daemon does, and return its rows.

    Raises:
        InvalidRequestError: A name, dtype, shape or the number of rows is wrong.
    """
    wanted = {tensor.name: tensor for tensor in spec.inputs}
    got = {tensor.name: tensor for tensor in request.tensors}
    if wanted.keys() != got.keys():
        text = f"{label}: expected the inputs {', '.join(map(repr, wanted))}, got {', '.join(map(repr, got)) or 'none'}"
        raise TensorMismatchError(text)
    rows: set[int] = set()
    for name, tensor in got.items():
        shape = wanted[name].shape
        fits = len(shape) == len(tensor.shape) and all(
            axis is None or axis == length for axis, length in zip(shape, tensor.shape, strict=True)
        )
        if tensor.dtype != wanted[name].dtype or not fits:
            text = f"{label}: input {name!r}: expected {wanted[name]}, got {tensor}"
            raise TensorMismatchError(text, {"tensor": name, "expected": str(wanted[name]), "got": str(tensor)})
        if shape and shape[0] is None:
            rows.add(tensor.shape[0])
    if len(rows) > 1:
        text = f"{label}: its inputs have different numbers of rows: {sorted(rows)}"
        raise InvalidRequestError(text)
    return rows.pop() if rows else 1
