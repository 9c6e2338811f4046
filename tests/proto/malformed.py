"""Messages made to be wrong in one known way each, with a part of the text that must say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgpack

from predictd_proto.frames import MESSAGE_TYPES

pack = cast("Callable[[object], bytes]", msgpack.packb)

NUMBERS = {cls.__name__: number for number, cls in MESSAGE_TYPES.items()}


def frames_of(name: str, header: Any, *more: bytes, version: int = 1) -> list[bytes]:
    packed = pack(header)
    for stand_in, deep in DEEP_BYTES.items():
        packed = packed.replace(stand_in, deep)
    return [b"pd" + bytes([version, NUMBERS[name]]) + packed, *more]


def predict(*entries: Any, more: Sequence[bytes] = (), **keys: Any) -> list[bytes]:
    return frames_of("PredictRequest", {"id": 5, "model": "m", "tensors": list(entries), **keys}, *more)


#: Stand for values that are nested deep; packers refuse to write such ones.
DEEP_LISTS, DEEP_MAPS = "(deep lists)", "(deep maps)"
LEVELS = 300
DEEP_BYTES = {
    pack(DEEP_LISTS): b"\x91" * LEVELS + b"\xa1x",
    pack(DEEP_MAPS): b"\x81\xa1a" * LEVELS + b"\xa1x",
}


GOOD = ["x", "uint8", [2], b"ab"]
RECEIPT = {"model": "m", "version": 1}
STATUS = {
    "state": "ready",
    "responsive": True,
    "server_id": "a",
    "server": "b",
    "protocol": 1,
    "pid": 2,
    "endpoint": "e",
    "uptime_s": 0,
}
SPEC = {"name": "x", "dtype": "int8", "shape": [None]}
SIGNATURE = {"name": "s", "inputs": [SPEC], "outputs": [SPEC], "input_structure": "x", "output_structure": "x"}
MODEL = {"name": "m", "version": 1, "state": "ready"}
WELCOME = {"version": 1, "server_id": "a", "server": "b", "state": "ready"}


def signature(**changes: Any) -> list[bytes]:
    model = {**MODEL, "signatures": [{**SIGNATURE, **changes}]}
    return frames_of("MetadataResponse", {"id": 1, "models": [model]})


def model(**changes: Any) -> list[bytes]:
    return frames_of("MetadataResponse", {"id": 1, "models": [{**MODEL, **changes}]})


def status(**changes: Any) -> list[bytes]:
    return frames_of("StatusResponse", {"id": 1, "status": {**STATUS, **changes}})


def welcome(**changes: Any) -> list[bytes]:
    return frames_of("Welcome", {**WELCOME, **changes})


def error(**changes: Any) -> list[bytes]:
    return frames_of("ErrorResponse", {"id": 1, "code": "c", "message": "t", **changes})


def response(**changes: Any) -> list[bytes]:
    return frames_of("PredictResponse", {"id": 1, "tensors": [], "receipt": RECEIPT, **changes})


MALFORMED: dict[str, tuple[list[bytes], str]] = {
    "no frame": ([], "not a predictd message"),
    "empty frame": ([b""], "not a predictd message"),
    "short envelope": ([b"pd\x01"], "not a predictd message"),
    "other marker": ([b"PD\x01\x03\x80"], "got b'PD"),
    "an HTTP request": ([b"GET / HTTP/1.1\r\n\r\n"], "got b'GET / HT'"),
    "type 0": ([b"pd\x01\x00\x80"], "message type 0; protocol 1 has the types 1 to 15"),
    "type 16": ([b"pd\x01\x10\x80"], "message type 16"),
    "no header": ([b"pd\x01\x06"], "can't be read as msgpack"),
    "bytes after the header": ([b"pd\x01\x06\x80\x80"], "ExtraData"),
    "header is a list": (frames_of("CancelRequest", [1, 2]), "a header is a map, got a list of 2"),
    "header is nil": (frames_of("CancelRequest", None), "a header is a map, got None"),
    "invalid utf-8": ([b"pd\x01\x06\x81\xa2id\xa1\xff"], "UnicodeDecodeError"),
    "a surrogate": ([b"pd\x01\x06\x81\xa2id\xa3\xed\xa0\x80"], "UnicodeDecodeError"),
    "a number for a key": (frames_of("CancelRequest", {1: 2}), "can't be read as msgpack"),
    "a list for a key": ([b"pd\x01\x06\x81\x90\x01"], "can't be read as msgpack"),
    "an extension": (frames_of("CancelRequest", {"id": msgpack.ExtType(3, b"x")}), "extension type 3"),
    "a timestamp": (frames_of("CancelRequest", {"id": msgpack.Timestamp(1)}), "type Timestamp"),
    "too deep": ([b"pd\x01\x06\x81\xa2id" + b"\x91" * 1100], "StackError"),
    "deep, but readable": (frames_of("CancelRequest", {"id": DEEP_LISTS}), "got a list of 1"),
    "deep maps": (frames_of("CancelRequest", {"id": DEEP_MAPS}), "got a dict of 1"),
    "no id": (frames_of("CancelRequest", {}), "without id"),
    "id nil": (frames_of("CancelRequest", {"id": None}), "got None"),
    "id negative": (frames_of("CancelRequest", {"id": -1}), "got -1 (int)"),
    "id over 2**63 - 1": (frames_of("CancelRequest", {"id": 1 << 63}), "got 9223372036854775808 (int)"),
    "id a float": (frames_of("CancelRequest", {"id": 1.0}), "got 1.0 (float)"),
    "id a bool": (frames_of("CancelRequest", {"id": True}), "got True (bool)"),
    "id in bytes keys": (frames_of("CancelRequest", {b"id": 1}), "without id"),
    "a frame too many": (frames_of("CancelRequest", {"id": 1}, b""), "a CancelRequest is one frame, got 2"),
    "no model": (frames_of("PredictRequest", {"id": 1, "tensors": []}), "'model'"),
    "no tensors": (frames_of("PredictRequest", {"id": 1, "model": "m"}), "without the field 'tensors'"),
    "model bytes": (predict(model=b"m"), "field model: expected text"),
    "model too long": (predict(model="m" * 257), "at most 256 characters"),
    "version negative": (predict(version=-1), "field version"),
    "version a float": (predict(version=1.0), "field version"),
    "version a bool": (predict(version=True), "field version"),
    "signature a number": (predict(signature=1), "field signature"),
    "timeout NaN": (
        predict(timeout_ms=float("nan")),
        "field timeout_ms: expected a finite number of at least 0, got nan",
    ),
    "timeout infinite": (predict(timeout_ms=float("inf")), "got inf"),
    "timeout negative": (predict(timeout_ms=-0.5), "got -0.5"),
    "timeout a bool": (predict(timeout_ms=True), "got True"),
    "timeout text": (predict(timeout_ms="1"), "got '1' (str)"),
    "caller_class nil": (predict(caller_class=None), "field caller_class"),
    "caller_class a list": (predict(caller_class=[]), "field caller_class: expected text of at most 256"),
    "traceparent a number": (predict(traceparent=0), "field traceparent"),
    "task_id too long": (predict(task_id="t" * 257), "field task_id"),
    "task_name too long": (predict(task_name="t" * 257), "field task_name: expected text of at most 256"),
    "task_name bytes": (predict(task_name=b"t"), "field task_name"),
    "tensors a map": (
        frames_of("PredictRequest", {"id": 1, "model": "m", "tensors": {}}),
        "expected a list, got a dict",
    ),
    "an entry of text": (predict("abcd"), "a tensor: expected a list of name, dtype, shape and data, got 'abcd'"),
    "an entry of three": (predict(["x", "uint8", []]), "got a list of 3"),
    "an entry of five": (predict([*GOOD, 1]), "got a list of 5"),
    "an entry map": (predict({"a": 1, "b": 2, "c": 3, "d": 4}), "got a dict of 4"),
    "name a number": (predict([1, "uint8", [2], b"ab"]), "a tensor's name"),
    "name too long": (predict(["n" * 1025, "uint8", [2], b"ab"]), "at most 1024 characters"),
    "unknown dtype": (predict(["x", "float8", [2], b"ab"]), "unknown dtype 'float8'"),
    "numpy's object dtype": (predict(["x", "object", [1], b"ab"]), "unknown dtype 'object'"),
    "dtype a list": (predict(["x", ["uint8"], [2], b"ab"]), "unknown dtype a list of 1"),
    "dtype deep": (predict(["x", DEEP_LISTS, [2], b"ab"]), "unknown dtype a list of 1"),
    "shape a map": (predict(["x", "uint8", {"a": 1}, b"ab"]), "a shape is a list"),
    "shape a number": (predict(["x", "uint8", 2, b"ab"]), "a shape is a list"),
    "axis negative": (predict(["x", "uint8", [-2], b"ab"]), "an axis is a whole number"),
    "two negative axes": (predict(["x", "uint8", [-1, -2], b"ab"]), "got -1"),
    "axis a bool": (predict(["x", "uint8", [True, 2], b"ab"]), "got True"),
    "axis a float": (predict(["x", "uint8", [2.0], b"ab"]), "got 2.0"),
    "axis nil": (predict(["x", "uint8", [None, 2], b"ab"]), "got None"),
    "axis over 2**48": (predict(["x", "uint8", [0, 1 << 48], b""]), "an axis is a whole number from 0"),
    "axis product overflows": (predict(["x", "uint8", [1 << 12, 1 << 47, 1 << 47], b"ab"]), "takes 81129638414606"),
    "empty beyond any array": (predict(["x", "float32", [0, 1 << 40, 1 << 40], b""]), "beyond any array"),
    "empty strings beyond any array": (predict(["x", "string", [0, 1 << 40, 1 << 40], b""]), "beyond any array"),
    "data for an empty tensor": (predict(["x", "uint8", [0], b"a"]), "takes 0 bytes, got 1"),
    "data too short": (predict(["x", "float32", [2], b"abcd"]), "float32[2] takes 8 bytes, got 4"),
    "data too long": (predict(["x", "uint8", [], b"ab"]), "takes 1 bytes, got 2"),
    "data text": (
        predict(["x", "uint8", [2], "ab"]),
        "data is bytes, a frame's number or a place in a segment, got 'ab' (str)",
    ),
    "data a bool": (predict(["x", "uint8", [1], True], more=(b"a",)), "got True (bool)"),
    "data nil": (predict(["x", "uint8", [0], None]), "got None"),
    "bool of 2": (predict(["x", "bool", [3], b"\x00\x01\x02"]), "a bool is one byte, 0 or 1"),
    "bool of 2 in the middle": (predict(["x", "bool", [3], b"\x01\x02\x00"]), "a bool is one byte, 0 or 1"),
    "bool of 255 in a frame": (predict(["x", "bool", [2], 1], more=(b"\x00\xff",)), "a bool is one byte, 0 or 1"),
    "strings shorter than lengths": (predict(["x", "string", [2], b"\0\0\0\0"]), "takes at least 8 bytes, got 4"),
    "string over the end": (predict(["x", "string", [1], b"\x05\0\0\0ab"]), "its strings take 9 bytes, got 6"),
    "string of 4 GiB": (predict(["x", "string", [1], b"\xff\xff\xff\xffab"]), "got 6"),
    "string eats the next": (predict(["x", "string", [2], b"\x02\0\0\0ab\0\0"]), "string 1 of 2 begins at byte 6"),
    "string left over": (predict(["x", "string", [1], b"\0\0\0\0ab"]), "its strings take 4 bytes, got 6"),
    "frame 0": (predict(["x", "uint8", [2], 0], more=(b"ab",)), "its data is in frame 0; expected frame 1 of 2"),
    "frame negative": (predict(["x", "uint8", [2], -1], more=(b"ab",)), "frame -1"),
    "frame missing": (predict(["x", "uint8", [2], 1]), "its data is in frame 1; expected frame 1 of 1"),
    "frame used twice": (
        predict(["x", "uint8", [2], 1], ["y", "uint8", [2], 1], more=(b"ab",)),
        "its data is in frame 1; expected frame 2 of 2",
    ),
    "frames out of order": (
        predict(["x", "uint8", [2], 2], ["y", "uint8", [2], 1], more=(b"ab", b"cd")),
        "its data is in frame 2; expected frame 1 of 3",
    ),
    "frame without a tensor": (predict(GOOD, more=(b"ab",)), "2 frames; expected 1"),
    "tensor twice": (predict(GOOD, GOOD), "expected each name once, got 'x'"),
    "receipt nil": (response(receipt=None), "field receipt: expected a map, got None"),
    "receipt a list": (response(receipt=[1]), "field receipt: expected a map"),
    "receipt empty": (response(receipt={}), "missing"),
    "receipt duration negative": (response(receipt={**RECEIPT, "split_ms": -1.0}), "field split_ms"),
    "receipt duration NaN": (response(receipt={**RECEIPT, "queue_ms": float("nan")}), "field queue_ms"),
    "receipt count a float": (response(receipt={**RECEIPT, "batch_rows": 1.0}), "field batch_rows"),
    "receipt text nil": (response(receipt={**RECEIPT, "closed_by": None}), "field closed_by"),
    "response without id": (frames_of("PredictResponse", {"tensors": [], "receipt": RECEIPT}), "the field 'id'"),
    "response tensor twice": (response(tensors=[GOOD, GOOD]), "expected each name once"),
    "hello backwards": (frames_of("Hello", {"oldest": 3, "newest": 2}), "field newest: expected a whole number from 3"),
    "hello over a byte": (frames_of("Hello", {"oldest": 1, "newest": 256}), "field newest"),
    "hello without anything": (frames_of("Hello", {}), "a Hello without oldest, newest"),
    "welcome limits nil": (welcome(limits=None), "a Limits is a map, got None"),
    "welcome limits a number": (welcome(limits=5), "a Limits is a map, got 5 (int)"),
    "welcome limit 0": (welcome(limits={"max_rows": 0}), "limit max_rows: expected a whole number from 1"),
    "welcome limit text": (welcome(limits={"max_rows": "9"}), "limit max_rows"),
    "welcome rank": (welcome(limits={"max_rank": 33}), "limit max_rank: expected a whole number from 1 to 32"),
    "welcome models text": (welcome(models="digits"), "field models: expected a tuple"),
    "welcome models of maps": (
        welcome(models=[{"name": "m"}]),
        "field models: expected a tuple of str, got a dict of 1",
    ),
    "welcome model too long": (welcome(models=["m" * 257]), "field models"),
    "models a map": (frames_of("MetadataResponse", {"id": 1, "models": {}}), "field models: expected a tuple"),
    "models of mixed kinds": (
        frames_of("MetadataResponse", {"id": 1, "models": [MODEL, 5]}),
        "a ModelMetadata is a map, got 5",
    ),
    "model without state": (
        frames_of("MetadataResponse", {"id": 1, "models": [{"name": "m", "version": 1}]}),
        "a ModelMetadata without state",
    ),
    "batch size 0": (model(batch_sizes=[0]), "field batch_sizes"),
    "batch size a bool": (model(batch_sizes=[True]), "field batch_sizes"),
    "batch sizes nested": (model(batch_sizes=[[1]]), "field batch_sizes"),
    "ladders without signatures": (model(ladders=[[1]]), "field ladders: expected none, or one for each of 0"),
    "ladder a number": (model(ladders=[1]), "field ladders"),
    "ladder size 0": (model(signatures=[SIGNATURE], ladders=[[0]]), "field ladders"),
    "ladder nested": (model(signatures=[SIGNATURE], ladders=[[[1]]]), "field ladders"),
    "model note a number": (model(model_notes=[1]), "field model_notes"),
    "label a number": (model(labels=[1]), "field labels"),
    "label too long": (model(labels=["l" * 257]), "field labels"),
    "parameters text": (model(parameters="1"), "field parameters"),
    "memory a float": (model(memory_bytes=1.5), "field memory_bytes"),
    "load_ms NaN": (model(load_ms=float("nan")), "field load_ms"),
    "is_default a number": (model(is_default=1), "field is_default"),
    "runners without signatures": (model(runners=["session"]), "field runners: expected none, or one for each of 0"),
    "runner a number": (model(runners=[1]), "field runners"),
    "traces below 0": (model(traces=-1), "field traces"),
    "weight_bytes below 0": (model(weight_bytes=-1), "field weight_bytes"),
    "note too long": (model(notes=["n" * 4097]), "field notes"),
    "notes text": (model(notes="n"), "field notes"),
    "gate nil": (model(gate=None), "field gate"),
    "format a number": (model(format=1), "field format"),
    "signatures a map": (model(signatures={}), "field signatures"),
    "signature nil": (model(signatures=[None]), "a SignatureSpec is a map"),
    "spec a number": (signature(inputs=[1]), "a TensorSpec is a map"),
    "spec dtype": (signature(inputs=[{**SPEC, "dtype": "f"}]), "dtype of tensor 'x'"),
    "spec shape text": (signature(inputs=[{**SPEC, "shape": "ab"}]), "shape of tensor 'x'"),
    "spec shape of lists": (signature(inputs=[{**SPEC, "shape": [[1]]}]), "shape of tensor 'x'"),
    "spec axis negative": (signature(inputs=[{**SPEC, "shape": [-1]}]), "shape of tensor 'x'"),
    "spec rank": (signature(inputs=[{**SPEC, "shape": [1] * 33}]), "a tuple of at most 32 axes"),
    "structure of others": (
        signature(input_structure="y"),
        "input_structure names 'y'; expected each of its tensors once",
    ),
    "structure twice": (signature(output_structure=["x", "x"]), "output_structure names 'x', 'x'"),
    "structure empty": (signature(output_structure=[]), "output_structure names none"),
    "structure of a newer server": (signature(input_structure={"$ref": 1}), "a structure: expected tensor names"),
    "structure too deep": (signature(input_structure=[[[[[[[[[[[[[[[[["x"]]]]]]]]]]]]]]]]]), "at most 16 levels"),
    "structure far too deep": (signature(input_structure=DEEP_MAPS), "at most 16 levels"),
    "specs of one name": (signature(inputs=[SPEC, SPEC], input_structure=["x", "x"]), "two tensors of one name"),
    "status a list": (frames_of("StatusResponse", {"id": 1, "status": []}), "a ServerStatus is a map"),
    "status responsive 1": (status(responsive=1), "field responsive: expected True or False"),
    "status pid a bool": (status(pid=True), "field pid"),
    "status uptime negative": (status(uptime_s=-1), "field uptime_s"),
    "status last_run text": (status(last_run_age_ms="1"), "field last_run_age_ms"),
    "status rss a float": (status(rss_bytes=1.0), "field rss_bytes"),
    "status counters a list": (status(counters=[1]), "field counters: expected a mapping"),
    "status counter text": (status(counters={"a": "1"}), "field counters, 'a'"),
    "status models": (status(models=[1]), "a ModelMetadata is a map"),
    "facts with bytes": (status(settings={"a": b"x"}), "field settings, 'a'"),
    "facts with bytes keys": (status(runtime={"a": {b"b": 1}}), "a key: expected text"),
    "facts with a timestamp": (status(runtime={"a": [msgpack.Timestamp(1)]}), "field runtime, 'a'"),
    "facts too deep": (error(detail=DEEP_MAPS), "at most 16 levels"),
    "facts in lists too deep": (error(detail={"a": DEEP_LISTS}), "at most 16 levels"),
    "facts with long text": (error(detail={"a": "x" * 8193}), "at most 8192 characters"),
    "facts with a long key": (error(detail={"k" * 1025: 1}), "at most 1024 characters"),
    "facts with a long list": (error(detail={"a": [0] * 1025}), "exceeds max_array_len"),
    "facts with many keys": (error(detail={str(key): 0 for key in range(1025)}), "exceeds max_map_len"),
    "detail nil": (error(detail=None), "field detail: expected a mapping"),
    "code nil": (error(code=None), "field code"),
    "message too long": (error(message="x" * 8193), "field message"),
    "error id text": (error(id="1"), "field id"),
    "load without a model": (frames_of("LoadRequest", {"id": 1}), "without model"),
    "load model nil": (frames_of("LoadRequest", {"id": 1, "model": None}), "field model"),
    "load version a label": (frames_of("LoadRequest", {"id": 1, "model": "m", "version": "stable"}), "field version"),
    "unload version negative": (frames_of("UnloadRequest", {"id": 1, "model": "m", "version": -1}), "field version"),
    "label without a label": (frames_of("LabelRequest", {"id": 1, "model": "m"}), "without label"),
    "label order with a number": (frames_of("LabelRequest", {"id": 1, "model": "m", "label": 3}), "field label"),
    "reload time negative": (frames_of("ReloadRequest", {"id": 1, "timeout_ms": -1}), "field timeout_ms"),
    "order done a text": (frames_of("OrderResponse", {"id": 1, "done": "x"}), "field done"),
    "order models a map": (frames_of("OrderResponse", {"id": 1, "models": {}}), "field models"),
    "metadata model a number": (frames_of("MetadataRequest", {"id": 1, "model": 1}), "field model"),
}
