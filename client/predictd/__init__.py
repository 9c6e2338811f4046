"""predictd: ask a process that owns a Keras/TensorFlow graph, from anywhere, without importing TensorFlow.

    import predictd

    model = predictd.RemoteModel("digits")      # in place of keras.models.load_model("digits.keras")
    model.predict(x)

    client = predictd.Client()                  # for the rest: receipts, versions, signatures, status
    client.predict("digits", x).receipt

    async with predictd.AsyncClient() as client:    # for coroutines
        await client.predict("digits", x)

Importing opens nothing, nor does making a client or a model: both may be made at import, before any fork.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from predictd.client import Client
from predictd.order_result import OrderResult
from predictd.prediction import Prediction
from predictd.process import importing as _importing
from predictd.remote_model import RemoteModel
from predictd.routing.retries import Retries
from predictd_proto.errors import (
    ClaimError,
    ClaimExpiredError,
    ClaimStoreUnavailableError,
    ConfigError,
    DeadlineExceededError,
    ExpiredInQueueError,
    InternalServerError,
    InvalidRequestError,
    LocalProtocolError,
    ModelLoadError,
    ModelNotFoundError,
    ModelNotReadyError,
    OverloadedError,
    PredictdError,
    PredictionError,
    ProtocolError,
    ProtocolVersionError,
    RemoteError,
    RemoteProtocolError,
    RequestCancelledError,
    RequestTooLargeError,
    RetryableError,
    ScoreError,
    SegmentRefusedError,
    ServerDrainingError,
    ServerLostError,
    ServerUnavailableError,
    SignatureNotFoundError,
    TensorMismatchError,
    TransportError,
    VersionNotFoundError,
)
from predictd_proto.messages import Receipt
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.status import ServerStatus
from predictd_proto.tensors import TensorSpec

if TYPE_CHECKING:
    from predictd.async_client import AsyncClient

    __version__: str

__all__ = [
    "AsyncClient",
    "ClaimError",
    "ClaimExpiredError",
    "ClaimStoreUnavailableError",
    "Client",
    "ConfigError",
    "DeadlineExceededError",
    "ExpiredInQueueError",
    "InternalServerError",
    "InvalidRequestError",
    "LocalProtocolError",
    "ModelLoadError",
    "ModelMetadata",
    "ModelNotFoundError",
    "ModelNotReadyError",
    "OrderResult",
    "OverloadedError",
    "PredictdError",
    "Prediction",
    "PredictionError",
    "ProtocolError",
    "ProtocolVersionError",
    "Receipt",
    "RemoteError",
    "RemoteModel",
    "RemoteProtocolError",
    "RequestCancelledError",
    "RequestTooLargeError",
    "Retries",
    "RetryableError",
    "ScoreError",
    "SegmentRefusedError",
    "ServerDrainingError",
    "ServerLostError",
    "ServerStatus",
    "ServerUnavailableError",
    "SignatureNotFoundError",
    "SignatureSpec",
    "TensorMismatchError",
    "TensorSpec",
    "TransportError",
    "VersionNotFoundError",
    "__version__",
]


def _on_demand(name: str) -> Any:
    if name == "AsyncClient":
        # asyncio takes longer to import than the whole of this package.
        with _importing():
            from predictd.async_client import AsyncClient

        globals()[name] = AsyncClient
        return AsyncClient
    if name == "__version__":
        # importlib.metadata takes a third as long as the whole of this package.
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("predictd")
        except PackageNotFoundError:
            return "0+unknown"
    if name == "testing":
        # For tests only: as large as the rest.
        return import_module("predictd.testing")
    text = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(text)


if not TYPE_CHECKING:
    # A type checker that sees this takes every misspelt name for one that is made on demand.
    __getattr__ = _on_demand


def __dir__() -> list[str]:
    return sorted({*__all__, "testing", "__all__", "__doc__", "__file__", "__name__", "__path__", "__spec__"})
