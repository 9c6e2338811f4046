"""Recordings: real answers in a file, and the file's format.

Owns what a recording holds, how a request finds its answer, and the bytes on disk. It asks nobody. Any thread.

The file, version 1: the line `predictd calls 1`, then a zlib stream of one msgpack map:

    limits   what the server accepted in one request, by name
    models   what was served: the wire's ModelMetadata as maps, without durations and memory
    calls    a list of maps, sorted by `key`: key, model, version, signature (as asked), inputs, and either outputs
             and answered_version, or code and message of a permanent error

A tensor is `[name, dtype, shape, bytes]` in the wire's layout (proto/WIRE.md). Nothing is pickled. The same calls give
the same file, in whatever order they were made; a file that would say the same is not written again.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgpack

from predictd.testing.turn import fake_receipt
from predictd_proto.errors import ConfigError, InvalidRequestError, PredictdError, error_from_code
from predictd_proto.limits import DEFAULT_LIMITS, Limits
from predictd_proto.messages import PredictRequest, PredictResponse
from predictd_proto.metadata import ModelMetadata
from predictd_proto.plain import from_plain, to_plain
from predictd_proto.tensors import Tensor, check_data

HEAD = b"predictd calls "
FORMAT = 1
_MOST_BYTES = (1 << 31) - 1
_MOST_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Call:
    """One question and its answer.

    Attributes:
        model: The model's name.
        version: The version as asked: a number, a label or None.
        signature: The signature as asked.
        inputs: The input tensors.
        outputs: The output tensors; empty where the answer was an error.
        answered_version: The version that answered.
        error: The error; None where there were outputs.
    """

    model: str
    version: int | str | None
    signature: str | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...] = ()
    answered_version: int = 0
    error: PredictdError | None = None


@dataclass
class Recording:
    """What was asked and answered.

    Attributes:
        models: What was served.
        limits: What the server accepted in one request.
        calls: The calls by key.
    """

    models: tuple[ModelMetadata, ...] = ()
    limits: Limits = DEFAULT_LIMITS
    calls: dict[bytes, Call] = field(default_factory=dict)

    def add(self, request: PredictRequest, answer: PredictResponse | PredictdError) -> Call:
        """Keep a request and its answer, and return what is kept: of several answers to one question the first."""
        error = answer if isinstance(answer, PredictdError) else None
        outputs = () if isinstance(answer, PredictdError) else _owned(answer.tensors)
        version = 0 if isinstance(answer, PredictdError) else answer.receipt.version
        call = Call(request.model, request.version, request.signature, _owned(request.tensors), outputs, version, error)
        return self.calls.setdefault(_key(request.model, request.version, request.signature, call.inputs), call)

    def find(self, request: PredictRequest) -> Call | None:
        """Return the call that asked the same; None when nobody did."""
        key = _key(request.model, request.version, request.signature, _owned(request.tensors))
        return self.calls.get(key)

    def unknown(self, request: PredictRequest, name: str) -> InvalidRequestError:
        """Return the error for a request that was never recorded."""
        asked = _shown(request.model, request.version, request.signature, request.tensors)
        counted: dict[str, int] = {}
        for call in self.calls.values():
            text = _shown(call.model, call.version, call.signature, call.inputs)
            counted[text] = counted.get(text, 0) + 1
        lines = [f"\n  {text}" + (f" ({times} different ones)" if times > 1 else "") for text, times in counted.items()]
        lines.sort(key=lambda line: f" {request.model!r}" not in line)
        if len(lines) > _MOST_SHOWN:
            lines[_MOST_SHOWN:] = [f"\n  ... and {len(lines) - _MOST_SHOWN} more kinds"]
        same = "the same shapes with other values" if asked in counted else "nothing of these shapes"
        text = (
            f"{name} holds no answer to {asked}; it holds {same}. Recorded were {len(self.calls)} calls:"
            f"{''.join(lines) or ' none'}\nTo record again, delete the file or use "
            f"predictd.testing.record({name!r}), with the real daemon running"
        )
        return InvalidRequestError(text, {"recording": name, "model": request.model})

    # --- the file ---------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        return HEAD + b"%d\n" % FORMAT + zlib.compress(self._packed(), 9)

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Recording:
        """Return the recording that a file's content holds.

        Raises:
            ConfigError: It holds none, or one of a newer format.
        """
        head, _, packed = content.partition(b"\n")
        number = head[len(HEAD) :]
        if not head.startswith(HEAD) or not number.isdigit():
            text = f"{name}: expected a recording of predictd.testing, got a file that begins with {content[:16]!r}"
            raise ConfigError(text)
        if int(number) != FORMAT:
            text = f"{name}: a recording of format {int(number)}; this predictd reads format {FORMAT}: record it again"
            raise ConfigError(text)
        try:
            plain = msgpack.unpackb(zlib.decompress(packed), max_bin_len=_MOST_BYTES, max_str_len=_MOST_BYTES)
            calls = {bytes(call["key"]): _call_of(call) for call in plain["calls"]}
            models = tuple([from_plain(ModelMetadata, model) for model in plain["models"]])
            return cls(models, from_plain(Limits, plain["limits"]), calls)
        except (zlib.error, ValueError, KeyError, TypeError, PredictdError, msgpack.UnpackException) as error:
            text = f"{name}: a recording that can't be read: {error}. Take it from version control, or record it again"
            raise ConfigError(text) from error

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Return the recording in a file.

        Raises:
            ConfigError: There is none; the text says how to make one.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            text = (
                f"{path}: there is no such recording. Make it with the real daemon running: "
                f"predictd.testing.record({str(path)!r}, mode='once')"
            )
            raise ConfigError(text) from None
        return cls.from_bytes(content, str(path))

    def save(self, path: Path, *, is_added: bool = False) -> None:
        """Write the file, all of it or nothing; not where it says the same already.

        Args:
            path: The file.
            is_added: Keep what it holds: another process may have added to it meanwhile.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            try:
                there = Recording.load(path)
            except ConfigError:
                there = None
            if is_added and there is not None:
                self.calls = {**self.calls, **there.calls}
            if there is not None and there._packed() == self._packed():
                return
            partial = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                partial.write_bytes(self.to_bytes())
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)

    def _packed(self) -> bytes:
        calls = [_plain_call(key, self.calls[key]) for key in sorted(self.calls)]
        models = [to_plain(_lasting(model)) for model in self.models]
        packed: bytes = msgpack.packb({"limits": to_plain(self.limits), "models": models, "calls": calls})
        return packed


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing recordings in a folder; it is locked itself, so that no file is left lying."""
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def response_of(request: PredictRequest, call: Call) -> PredictResponse:
    """Return a recorded answer as the answer to a request.

    Raises:
        PredictdError: It was an error.
    """
    if call.error is not None:
        raise call.error
    rows = next((tensor.shape[0] for tensor in request.tensors if tensor.shape), 0)
    return PredictResponse(
        id=request.id, tensors=call.outputs, receipt=fake_receipt(call.model, call.answered_version, rows)
    )


def _key(model: str, version: int | str | None, signature: str | None, tensors: Iterable[Tensor]) -> bytes:
    digest = hashlib.sha256()
    ordered = sorted(tensors, key=lambda tensor: tensor.name)
    head = [model, version, signature, [[tensor.name, tensor.dtype, list(tensor.shape)] for tensor in ordered]]
    digest.update(msgpack.packb(head))
    for tensor in ordered:
        digest.update(tensor.data)
    return digest.digest()


def _owned(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(
        [tensor if type(tensor.data) is bytes else replace(tensor, data=bytes(tensor.data)) for tensor in tensors]
    )


def _lasting(model: ModelMetadata) -> ModelMetadata:
    """Without what is another at each start of a server."""
    return replace(model, load_ms=0.0, warmup_ms=0.0, memory_bytes=None)


def _plain_call(key: bytes, call: Call) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "key": key,
        "model": call.model,
        "version": call.version,
        "signature": call.signature,
        "inputs": [_plain_tensor(tensor) for tensor in call.inputs],
    }
    if call.error is not None:
        return {**plain, "code": call.error.code, "message": call.error.message}
    outputs = [_plain_tensor(tensor) for tensor in call.outputs]
    return {**plain, "outputs": outputs, "answered_version": call.answered_version}


def _plain_tensor(tensor: Tensor) -> list[Any]:
    return [tensor.name, tensor.dtype, list(tensor.shape), bytes(tensor.data)]


def _call_of(plain: Mapping[str, Any]) -> Call:
    error = error_from_code(plain["code"], plain["message"]) if "code" in plain else None
    return Call(
        model=plain["model"],
        version=plain["version"],
        signature=plain["signature"],
        inputs=_tensors_of(plain["inputs"]),
        outputs=_tensors_of(plain.get("outputs", ())),
        answered_version=plain.get("answered_version", 0),
        error=error,
    )


def _tensors_of(plain: Iterable[Sequence[Any]]) -> tuple[Tensor, ...]:
    tensors = tuple([Tensor(name, dtype, tuple(shape), data) for name, dtype, shape, data in plain])
    for tensor in tensors:
        check_data(tensor)
    return tensors


def _shown(model: str, version: object, signature: object, tensors: Iterable[Tensor]) -> str:
    asked = f"model {model!r}"
    asked += f" version {version!r}" if version is not None else ""
    asked += f" signature {signature!r}" if signature is not None else ""
    return f"{asked} with {', '.join(f'{tensor.name} {tensor}' for tensor in tensors)}"
