"""Endpoints: which texts name one, and where a server and its clients meet when none is named."""

from __future__ import annotations

import os
import tempfile

import pytest

from predictd_proto.endpoints import MAX_IPC_PATH_BYTES, Endpoint, default_endpoint, default_endpoints, parse_endpoints
from predictd_proto.errors import ConfigError

LONGEST = "/" + "a" * (MAX_IPC_PATH_BYTES - len(".control") - 1)


@pytest.mark.parametrize(
    ("text", "control"),
    [
        ("ipc:///run/predictd.sock", "ipc:///run/predictd.sock.control"),
        ("ipc:///a b/ü.sock", "ipc:///a b/ü.sock.control"),
        (f"ipc://{LONGEST}", f"ipc://{LONGEST}.control"),
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556"),
        ("tcp://my-host.example_1:1", "tcp://my-host.example_1:2"),
        ("tcp://*:65534", "tcp://*:65535"),
        ("tcp://[::1]:5555", "tcp://[::1]:5556"),
        ("tcp://[fe80::1%eth0]:5555", "tcp://[fe80::1%eth0]:5556"),
    ],
)
def test_good_endpoints(text: str, control: str) -> None:
    endpoint = Endpoint.parse(text)
    assert (endpoint.data, endpoint.control, str(endpoint)) == (text, control, text)


def test_paths() -> None:
    ipc = Endpoint.parse("ipc:///run/p.sock")
    assert (ipc.path, ipc.control_path) == ("/run/p.sock", "/run/p.sock.control")
    tcp = Endpoint.parse("tcp://localhost:5555")
    assert (tcp.path, tcp.control_path) == (None, None)


BAD = [
    "",
    "predictd.sock",
    "/run/predictd.sock",
    "ipc:/run/predictd.sock",
    "IPC:///run/predictd.sock",
    "inproc://x",
    "http://localhost:5555",
    "ipc://",
    "ipc:///",
    "ipc://relative/predictd.sock",
    "ipc://@abstract",
    "ipc://*",
    "ipc:///run/",
    "ipc:///run/predictd.sock\n",
    "ipc:///run/predictd.sock ",
    " ipc:///run/predictd.sock",
    "ipc:///run/a\0b",
    "ipc:///run/a\nb",
    "ipc:///run/\ud800",
    f"ipc://{LONGEST}a",
    "ipc:///" + "ü" * 60,
    "tcp://",
    "tcp://localhost",
    "tcp://localhost:",
    "tcp://:5555",
    "tcp://localhost:0",
    "tcp://localhost:65535",
    "tcp://localhost:99999",
    "tcp://localhost:" + "9" * 5000,
    "tcp://localhost:05555",
    "tcp://localhost:-1",
    "tcp://localhost:5555/",
    "tcp://localhost:port",
    "tcp://localhost:\uff15\uff15",
    "tcp://local host:5555",
    "tcp://::1:5555",
    "tcp://[::1:5555",
    "tcp://[]:5555",
    "tcp://a;b:5555",
    "tcp://a*b:5555",
    "tcp://user@host:5555",
    "ipc:///run/a,b",
    "ipc:///run/a,ipc:///run/b",
    "tcp://a:5,tcp://b:5",
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text)[:40])
def test_bad_endpoints(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint.parse(text)
    assert repr(text) in str(caught.value)
    assert "expected" in str(caught.value) or "choose" in str(caught.value)


def test_a_path_that_is_too_long_says_how_long_it_may_be() -> None:
    with pytest.raises(ConfigError, match=r"is 100 bytes long, a socket's may have 99; choose a shorter one"):
        Endpoint.parse(f"ipc://{LONGEST}a")


USER = "ipc:///tmp/predictd-1000/predictd.sock"
RUNTIME = "ipc:///run/user/1000/predictd/predictd.sock"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, USER),
        ({"PREDICTD_ENDPOINT": ""}, USER),
        ({"XDG_RUNTIME_DIR": ""}, USER),
        ({"XDG_RUNTIME_DIR": "run/user/1000"}, USER),
        ({"XDG_RUNTIME_DIR": "./run"}, USER),
        ({"XDG_RUNTIME_DIR": "/run/user/1000"}, RUNTIME),
        ({"XDG_RUNTIME_DIR": "/run/user/1000/"}, RUNTIME),
        ({"XDG_RUNTIME_DIR": "/run/user/1000", "PREDICTD_ENDPOINT": ""}, RUNTIME),
        ({"XDG_RUNTIME_DIR": "/run/user/1000", "PREDICTD_ENDPOINT": "tcp://h:5"}, "tcp://h:5"),
        ({"PREDICTD_ENDPOINT": "ipc:///a/b"}, "ipc:///a/b"),
        ({"TMPDIR": "/other", "UID": "5"}, USER),
    ],
)
def test_the_default(environ: dict[str, str], expected: str) -> None:
    assert default_endpoint(environ, uid=1000, temporary="/tmp").data == expected
    assert default_endpoint(environ, uid=1000, temporary="/tmp/").data == expected


def test_each_user_has_their_own() -> None:
    assert default_endpoint({}, uid=0, temporary="/tmp").data == "ipc:///tmp/predictd-0/predictd.sock"
    assert default_endpoint({}, uid=1, temporary="/tmp").data == "ipc:///tmp/predictd-1/predictd.sock"


@pytest.mark.parametrize(
    ("environ", "origin"),
    [
        ({"PREDICTD_ENDPOINT": "predictd.sock"}, "from PREDICTD_ENDPOINT: endpoint 'predictd.sock'"),
        ({"PREDICTD_ENDPOINT": " "}, "from PREDICTD_ENDPOINT: endpoint ' '"),
        ({"XDG_RUNTIME_DIR": "/" + "a" * 100}, "from XDG_RUNTIME_DIR: endpoint"),
    ],
)
def test_a_bad_variable_is_named(environ: dict[str, str], origin: str) -> None:
    with pytest.raises(ConfigError) as caught:
        default_endpoint(environ, uid=1000, temporary="/tmp")
    assert str(caught.value).startswith(origin)


def test_a_temporary_directory_that_is_too_long_is_named() -> None:
    with pytest.raises(ConfigError, match=r"from the temporary directory: .* PREDICTD_ENDPOINT"):
        default_endpoint({}, uid=1000, temporary="/" + "t" * 100)


def test_without_arguments_it_is_the_processs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREDICTD_ENDPOINT", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", "/short")
    assert default_endpoint().data == f"ipc:///short/predictd-{os.getuid()}/predictd.sock"
    monkeypatch.setenv("PREDICTD_ENDPOINT", "tcp://h:7")
    assert default_endpoint().data == "tcp://h:7"


def test_where_users_have_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getuid")
    monkeypatch.setenv("USERNAME", "ann")
    assert default_endpoint({}, temporary="/tmp").data == "ipc:///tmp/predictd-ann/predictd.sock"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("tcp://a:1", ["tcp://a:1"]),
        ("tcp://a:1,ipc:///b", ["tcp://a:1", "ipc:///b"]),
        (" tcp://a:1 ,  ipc:///b ", ["tcp://a:1", "ipc:///b"]),
        (["ipc:///b", "tcp://a:1"], ["ipc:///b", "tcp://a:1"]),
        (("ipc:///b",), ["ipc:///b"]),
    ],
)
def test_several_endpoints(given: str | list[str], expected: list[str]) -> None:
    assert [endpoint.data for endpoint in parse_endpoints(given)] == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tcp://a:1,", "endpoint 2 of 2: expected ipc:///absolute/path or tcp://host:port, got ''"),
        (",tcp://a:1", "endpoint 1 of 2: expected"),
        ("tcp://a:1, ,tcp://b:1", "endpoint 2 of 3: expected"),
        ("tcp://a:1,tcp://b", "endpoint 'tcp://b': expected"),
        ("tcp://a:1,tcp://b:1\n", "endpoint 'tcp://b:1\\n': expected"),
        ("tcp://a:1, tcp://a:1", "endpoint 2 of 2: 'tcp://a:1' is in the list already; remove one of the two"),
        ([], "endpoints: expected at least one, got none"),
        (["tcp://a:1,tcp://b:1"], "expected one endpoint, without commas"),
        ([7], "endpoint 1 of 1: expected ipc:///absolute/path or tcp://host:port, got 7"),
    ],
)
def test_bad_lists_of_endpoints(given: str | list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_endpoints(given)
    assert said in str(caught.value)
    if isinstance(given, str):
        monkeypatch.setenv("PREDICTD_ENDPOINT", given)
        with pytest.raises(ConfigError) as caught:
            default_endpoints()
        assert str(caught.value).startswith("from PREDICTD_ENDPOINT: ")
        assert said in str(caught.value)


def test_clients_read_a_list_from_the_variable_and_servers_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTD_ENDPOINT", "tcp://a:1, tcp://b:1")
    assert [endpoint.data for endpoint in default_endpoints()] == ["tcp://a:1", "tcp://b:1"]
    with pytest.raises(ConfigError, match=r"from PREDICTD_ENDPOINT: .* expected one endpoint"):
        default_endpoint()
    monkeypatch.setenv("PREDICTD_ENDPOINT", "")
    assert default_endpoints() == (default_endpoint(),)
