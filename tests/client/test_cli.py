"""The command: what it prints, to where, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import Result

import predictd
from predictd.cli import group as command_group
from predictd.cli.files import read_inputs
from predictd.cli.texts import status_text
from predictd_proto.errors import DeadlineExceededError
from predictd_proto.messages import PredictRequest, Receipt
from tests.client.fake_process import CHECKOUT, with_paths
from tests.client.fake_server import FakeServer, answer, model, refuse, silent

#: A wait of a millisecond.
SHORT = DeadlineExceededError("no answer within 1 ms")
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)

Run = Callable[..., Result]


def test_predict_prints_outputs_and_receipt(server: FakeServer, run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    ran = run("predict", "double", str(tmp_path / "rows.npy"))
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "[[ 0.  2.  4.  6.]",
        " [ 8. 10. 12. 14.]]",
        "double version 1: float32[2, 4] in 0.30 ms (queue 0.10, run 0.20; batch of 2 rows)",
    ]


@pytest.mark.parametrize(
    ("closed_by", "said"), [("cache", "the answer was kept"), ("joined", "the answer was kept"), ("idle", "no batch")]
)
def test_an_answer_without_a_batch_is_told_as_such(server: FakeServer, run: Run, closed_by: str, said: str) -> None:
    receipt = Receipt(model="double", version=1, batches=0, closed_by=closed_by)
    server.replies = [lambda request: [replace(answer(request), receipt=receipt)]]
    ran = run("predict", "double", stdin=json.dumps(ROWS.tolist()))
    assert ran.stdout.splitlines()[-1] == (f"double version 1: float32[2, 4] in 0.00 ms (queue 0.00, run 0.00; {said})")


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("stdin", [json.dumps(ROWS.tolist()), json.dumps({"x": ROWS.tolist()}), npy(ROWS)])
def test_predict_reads_standard_input(server: FakeServer, run: Run, stdin: bytes | str) -> None:
    ran = run("predict", "double", "--json", stdin=stdin)
    assert json.loads(ran.stdout)["outputs"] == (ROWS * 2).tolist()
    assert json.loads(ran.stdout)["receipt"]["model"] == "double"


def test_predict_takes_several_inputs_by_name(server: FakeServer, run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", a=ROWS, b=np.ones((2, 2)))
    ran = run("predict", "pair", str(tmp_path / "in.npz"), "--output", str(tmp_path / "out.npz"))
    assert (ran.exit_code, ran.stderr) == (0, "")
    with np.load(tmp_path / "out.npz") as outputs:
        assert dict(outputs).keys() == {"sum", "rest_0"}
        np.testing.assert_array_equal(outputs["sum"], ROWS.sum(axis=1))


@pytest.mark.parametrize("name", ["out.npy", "out.json", "out.npz"])
def test_predict_writes_files(server: FakeServer, run: Run, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ran = run("predict", "double", "--output", str(path), stdin=json.dumps(ROWS.tolist()))
    assert (ran.exit_code, ran.stderr) == (0, "")
    if name == "out.json":
        assert json.loads(path.read_text()) == (ROWS * 2).tolist()
    else:
        written = read_inputs(str(path))
        np.testing.assert_array_equal(written if name == "out.npy" else written["output"], ROWS * 2)
    assert "[[" not in ran.stdout


def test_a_wrong_name_for_the_outputs_is_told_before_anything_is_asked(server: FakeServer, run: Run) -> None:
    ran = run("predict", "double", "--output", "x.txt", stdin=json.dumps(ROWS.tolist()))
    assert ran.exit_code == 2
    assert not server.of(PredictRequest)


def test_predict_prints_words(server: FakeServer, run: Run) -> None:
    assert json.loads(run("predict", "words", "--json", stdin='["ä"]').stdout)["outputs"] == ["<ä>"]


def test_predict_asks_for_a_version(server: FakeServer, run: Run) -> None:
    run("predict", "double", "--version", "1", stdin=json.dumps(ROWS.tolist()))
    assert server.of(PredictRequest)[0].version == 1


def test_models_are_a_table(server: FakeServer, run: Run) -> None:
    server.models = [
        model("digits", *server.models[0].signatures, labels=("stable",), parameters=1234567, memory_bytes=12_300_000),
        model("broken", state="failed", error="no such layer"),
    ]
    ran = run("models")
    assert ran.stdout.splitlines() == [
        "MODEL   VERSION  STATE   LABELS     PARAMS   MEMORY  RUNS AS",
        "broken  1        failed                 12        -  session",
        "  no such layer",
        "digits  1        ready   stable  1,234,567  12.3 MB  session",
        "  x float32[rows, 4] -> y float32[rows, 4]",
    ]
    assert [entry["name"] for entry in json.loads(run("models", "--json").stdout)] == ["broken", "digits"]


def test_no_models_are_said_to_be_none(server: FakeServer, run: Run) -> None:
    server.models = []
    assert run("models").stdout == "No models are served.\n"


def test_status_of_a_ready_server(server: FakeServer, run: Run, endpoint: str) -> None:
    ran = run("status")
    assert ran.exit_code == 0
    lines = ran.stdout.splitlines()
    assert lines[:3] == [
        "State       ready, alive, responsive",
        f"Endpoint    {endpoint}",
        f"Server      predictd 0, protocol 1, pid {os.getpid()}",
    ]
    assert "Up for      1 h 1 min 40 s" in lines
    assert "Memory      123.0 MB" in lines
    assert "Totals      requests 7" in lines
    assert json.loads(run("status", "--json").stdout)["state"] == "ready"


def test_status_tells_which_tasks_ask_the_most_and_that_there_are_others(server: FakeServer) -> None:
    asked = {f"shop.task{number}": {"requests": 10 + number, "joined": 0, "kept": 0} for number in range(7)}
    status = replace(server.status(), tasks={"names": {"shop.rare": {"requests": 1}, **asked}, "queues": {}})
    lines = click.unstyle(status_text(status, 80)).splitlines()
    most = ", ".join(f"shop.task{number} {10 + number}" for number in (6, 5, 4, 3, 2))
    assert f"Tasks       {most}, 3 others" in lines
    assert "Tasks" not in status_text(server.status(), 80)


def test_status_shows_a_task_s_name_without_what_would_act_on_the_terminal(server: FakeServer) -> None:
    status = replace(server.status(), tasks={"names": {"shop\x1b[2J\nReady": {"requests": 1}}, "queues": {}})
    (line,) = [line for line in status_text(status, 80).splitlines() if "Tasks" in line]
    assert click.unstyle(line).endswith(r"  shop\x1b[2J\nReady 1")


@pytest.mark.parametrize("arguments", [["status"], ["status", "--wait", "0.3"]])
def test_status_of_a_server_that_is_not_ready(server: FakeServer, run: Run, arguments: list[str]) -> None:
    server.state = "starting"
    ran = run(*arguments)
    assert ran.exit_code == 3
    assert ran.stdout.startswith("State       starting, alive")


def test_a_wait_too_short_for_an_answer_shows_the_status_all_the_same(
    server: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(*_: object) -> None:
        raise SHORT

    server.state = "starting"
    monkeypatch.setattr(predictd.Client, "wait_until_ready", wait)
    assert run("status", "--wait", "0.001").exit_code == 3


def test_status_waits_until_ready(server: FakeServer, run: Run) -> None:
    assert run("status", "--wait", "30").exit_code == 0


def test_help_documents_the_exit_codes(run: Run) -> None:
    for command in ("predict", "models", "status"):
        assert "4  nobody answers at the endpoint" in run(command, "--help").stdout
    assert "Exit codes" in run("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["predict", "nope"], 1, "predictd: model 'nope' is not served here; served: "),
        (["predict", "double", "--version", "9"], 1, "no version or label '9'"),
        (["predict", "double", "/no/such/file"], 2, "predictd: /no/such/file: No such file or directory"),
        (["predict", "double", "--output", "x.txt"], 2, "expected a name that ends in .npy, .npz or .json"),
        (["predict", "pair"], 1, "expected a list of 2 ('a', 'b'), got a list of 1"),
        (["models", "nope"], 1, "model 'nope' is not served here"),
        (["models", "--endpoint", "nonsense"], 2, "endpoint 'nonsense': expected ipc:///absolute/path"),
        (["models", "--timeout-ms", "0"], 2, "--timeout-ms: expected a number of milliseconds above 0"),
        (
            ["status", "--wait", "-1"],
            2,
            "predictd: --wait: expected a number of seconds above 0 and up to 2678400, got",
        ),
        (["predict"], 2, "Missing argument 'MODEL'"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_errors_are_one_readable_text(server: FakeServer, run: Run, arguments: list[str], code: int, said: str) -> None:
    if "--version" in arguments:
        said = said.replace("'9'", "9")
    ran = run(*arguments, stdin="[[1, 2, 3, 4]]")
    assert ran.exit_code == code, ran.stderr
    assert said in ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "stdin", ["not json", b"\x93NUMPY\x01", npy(np.array([object()], dtype=object)), b"PK\x03\x04"]
)
def test_unreadable_inputs_are_told(server: FakeServer, run: Run, stdin: bytes | str) -> None:
    ran = run("predict", "double", stdin=stdin)
    assert ran.exit_code == 2
    assert ran.stderr.startswith("predictd: standard input: expected .npy, .npz (numbers, no objects) or JSON: ")


@pytest.mark.parametrize(
    ("reply", "code"),
    [(refuse("overloaded", retry_after_ms=60_000), 3), (refuse("prediction_failed"), 1), (silent, 5)],
)
def test_what_the_server_does_decides_the_exit_code(server: FakeServer, run: Run, reply: Any, code: int) -> None:
    server.replies = [reply]
    ran = run("predict", "double", "--timeout-ms", "500", stdin="[[1, 2, 3, 4]]")
    assert ran.exit_code == code, ran.stderr


def test_nobody_there(run: Run, endpoint: str) -> None:
    ran = run("status", "--timeout-ms", "100")
    assert ran.exit_code == 4
    assert ran.stderr.startswith(f"predictd: no predictd answered at {endpoint}.control within ")
    assert run("status", "--wait", "0.05").exit_code == 4


@pytest.mark.parametrize("command", ["serve", "inspect", "tune"])
def test_commands_of_the_server_say_what_to_install_without_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ran = run(command, "model.keras", "--flag")
    assert ran.exit_code == 2
    assert ran.stderr == f"predictd {command} needs the server: pip install 'predictd[server]'\n"
    assert command in run("--help").stdout


class Entry:
    value = "somewhere:command"

    def __init__(self, load: Callable[[], Any]) -> None:
        self.load = load


def test_commands_of_other_packages_are_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def extra() -> None:
        click.echo("extra ran")

    def broken() -> Any:
        message = "No module named 'left_out'"
        raise ImportError(message)

    entries = {"extra": Entry(lambda: extra), "broken": Entry(broken), "odd": Entry(lambda: 5)}
    monkeypatch.setattr(command_group, "_entry_points", lambda: entries)
    assert run("extra").stdout == "extra ran\n"
    assert "No module named 'left_out'" in run("broken").stderr
    assert "is no command" in run("odd").stderr
    assert "extra" in run("--help").stdout


def test_the_module_runs_as_the_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "predictd", "--version"],
        cwd=CHECKOUT,
        env=with_paths(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("predictd ")


def test_several_endpoints_are_named_with_commas_or_one_by_one(server: FakeServer, run: Run, endpoint: str) -> None:
    nobody = f"{endpoint}.none"
    for flags in (["--endpoint", f"{nobody}, {endpoint}"], ["--endpoint", nobody, "--endpoint", endpoint]):
        assert run("models", "double", *flags).exit_code == 0
        assert run("predict", "double", "-", *flags, stdin="[[1, 2, 3, 4]]").exit_code == 0
    ran = run("models", "--endpoint", endpoint, "--endpoint", endpoint)
    assert (ran.exit_code, "is in the list already" in ran.stderr) == (2, True)


def test_status_shows_each_of_several_servers(server: FakeServer, run: Run, endpoint: str) -> None:
    nobody = f"{endpoint}.none"
    flags = ["--endpoint", f"{nobody},{endpoint}"]
    ran = run("status", *flags)
    assert ran.exit_code == 0
    assert f"{nobody}\nno predictd answered at {nobody}.control" in ran.stdout
    assert f"Endpoint    {endpoint}" in ran.stdout
    plain = json.loads(run("status", "--json", "--wait", "30", *flags).stdout)
    assert [item.get("state") for item in plain] == [None, "ready"]
    assert plain[0]["error"]["code"] == "server_unavailable"
    server.state = "loading"
    assert run("status", *flags).exit_code == 3
    assert run("status", "--endpoint", f"{nobody},{nobody}2").exit_code == 4
