"""`predictd models` and `predictd golden`: what is told of models on a terminal, and answers kept for later."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from predictd_proto.messages import PredictRequest
from tests.client.fake_server import ANSWERS, FakeServer, answer, model

Run = Callable[..., Result]

LONG = "golden.npz: output 'scores', row 5: off by 0.5, " * 4 + "and that is all"
DIGITS = ANSWERS["double"].spec("serving_default")
IMAGES = replace(ANSWERS["pair"].spec("detect_all_of_them"), name="detect_all_of_them")
READY = model(
    "digits",
    DIGITS,
    IMAGES,
    version=3,
    labels=("stable", "canary"),
    is_default=True,
    batch_sizes=(1, 2, 4, 8, 16, 32, 64),
    digest="sha256:" + "9f86d081" * 8,
    source="digits.keras",
    format="keras",
    runners=("session", "concrete-function"),
    load_ms=812.4,
    warmup_ms=4300.0,
    traces=2,
    parameters=9610,
    memory_bytes=1_234_567,
    weight_bytes=38_440,
    gate="passed within 0.0001 (serving_default: 12 rows batched and one by one)",
    notes=("signature 'detect_all_of_them' gives random answers: it runs the slowest way because of that",),
)
FAILED = model("digits", version=4, state="failed", error=LONG, parameters=None, runner="", source="digits.keras")


def test_versions_are_listed_one_per_line_in_80_columns(server: FakeServer, run: Run) -> None:
    older = replace(READY, version=2, labels=(), is_default=False)
    server.models = [FAILED, READY, older, model("other", DIGITS, version=20260101, is_default=True)]
    assert run("models").stdout.splitlines() == [
        "MODEL   VERSION     STATE   LABELS          PARAMS  MEMORY  RUNS AS",
        "digits  4           failed                       -       -  -",
        "  golden.npz: output 'scores', row 5: off by 0.5, golden.npz: output 'scores',",
        "  row 5: off by 0.5, golden.npz: output 'scores', row 5: off by 0.5, golden.npz:",
        "  output 'scores', row 5: off by 0.5, and that is all",
        "digits  3 *         ready   stable, canary   9,610  1.2 MB  session",
        "digits  2           ready                    9,610  1.2 MB  session",
        "  x float32[rows, 4] -> y float32[rows, 4] (and 1 more signature)",
        "other   20260101 *  ready                       12       -  session",
        "  x float32[rows, 4] -> y float32[rows, 4]",
        "",
        "* answers requests that name no version.",
    ]


def test_everything_is_told_of_one_model(server: FakeServer, run: Run) -> None:
    server.models = [FAILED, READY]
    assert run("models", "digits").stdout.splitlines() == [
        "digits version 4",
        "  State   failed",
        "  Reason  golden.npz: output 'scores', row 5: off by 0.5, golden.npz: output",
        "          'scores', row 5: off by 0.5, golden.npz: output 'scores', row 5: off",
        "          by 0.5, golden.npz: output 'scores', row 5: off by 0.5, and that is",
        "          all",
        "  Source  digits.keras",
        "",
        "digits version 3",
        "  State        ready, answers requests that name no version",
        "  Labels       stable, canary",
        "  Signature    serving_default, the default, runs as session",
        "    input      x float32[rows, 4]",
        "    output     y float32[rows, 4]",
        "  Signature    detect_all_of_them, runs as concrete-function",
        "    input      a float32[rows, 4]",
        "    input      b int32[rows, 2]",
        "    output     sum float32[rows]",
        "    output     twice int32[rows, 2]",
        "  Batch sizes  1, 2, 4, 8, 16, 32, 64",
        "  Parameters   9,610 (38.4 kB of weights)",
        "  Memory       1.2 MB more in the process after the load",
        "  Loaded in    812 ms, warmed up in 4.3 s; 2 graphs traced",
        "  Gate         passed within 0.0001 (serving_default: 12 rows batched and one by",
        "               one)",
        "  Note         signature 'detect_all_of_them' gives random answers: it runs the",
        "               slowest way because of that",
        "  Source       digits.keras (keras)",
        f"  SHA-256      {'9f86d081' * 8}",
    ]


def test_batch_sizes_are_told_of_each_signature_where_they_differ(server: FakeServer, run: Run) -> None:
    server.models = [replace(READY, ladders=(READY.batch_sizes, ()))]
    lines = run("models", "digits").stdout.splitlines()
    assert lines[4:7] == [
        "    input     x float32[rows, 4]",
        "    output    y float32[rows, 4]",
        "    batches   1, 2, 4, 8, 16, 32, 64",
    ]
    assert "    batches   rows of several requests are not merged" in lines
    assert not any("Batch sizes" in line for line in lines)
    server.models = [replace(READY, ladders=(READY.batch_sizes, READY.batch_sizes))]
    assert "  Batch sizes  1, 2, 4, 8, 16, 32, 64" in run("models", "digits").stdout.splitlines()


def test_notes_on_the_model_as_a_whole_are_told(server: FakeServer, run: Run) -> None:
    server.models = [replace(READY, model_notes=("models/digits/v1: is no version",))]
    assert "  Note         models/digits/v1: is no version" in run("models", "digits").stdout.splitlines()


def test_json_tells_everything_as_it_is(server: FakeServer, run: Run) -> None:
    server.models = [READY]
    (plain,) = json.loads(run("models", "digits", "--json").stdout)
    assert plain["is_default"] is True
    assert plain["signatures"][0]["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 4]}]
    assert plain["digest"] == READY.digest
    assert plain["runners"] == ["session", "concrete-function"]
    assert plain["notes"] == list(READY.notes)


def test_a_long_path_is_never_broken(server: FakeServer, run: Run) -> None:
    path = "/srv/" + "m" * 90 + "/golden.npz"
    server.models = [replace(FAILED, error=f"{path}: no rows")]
    assert f"\n  {path}:\n  no rows\n" in run("models").stdout


def test_golden_samples_are_inputs_and_answers_by_name(server: FakeServer, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    ran = run("golden", "double", "--output", str(path), stdin="[[1, 2, 3, 4], [5, 6, 7, 8]]")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"{path}: inputs/x, outputs/y\ndouble version 1: float32[2, 4] in ")
    with np.load(path) as samples:
        assert samples["inputs/x"].dtype == np.float32
        np.testing.assert_array_equal(samples["inputs/x"], [[1, 2, 3, 4], [5, 6, 7, 8]])
        np.testing.assert_array_equal(samples["outputs/y"], samples["inputs/x"] * 2)


def test_golden_samples_of_nested_tensors_and_of_another_signature(
    server: FakeServer, run: Run, tmp_path: Path
) -> None:
    pair = ANSWERS["pair"]
    server.models = [model("pair", pair.spec("other"), pair.spec("serving_default"), version=7, labels=("stable",))]
    server.replies = [lambda request: [answer(request, version=7)]]
    path = tmp_path / "golden.npz"
    np.savez(tmp_path / "in.npz", a=np.ones((3, 4)), b=np.ones((3, 2)))
    ran = run(
        *("golden", "pair", str(tmp_path / "in.npz"), "--output", str(path)),
        *("--signature", "other", "--version", "stable"),
    )
    assert (ran.exit_code, ran.stderr) == (0, "")
    with np.load(path) as samples:
        assert set(samples) == {"other/inputs/a", "other/inputs/b", "other/outputs/sum", "other/outputs/twice"}
        assert samples["other/inputs/b"].dtype == np.int32
    (request,) = server.of(PredictRequest)
    assert (request.version, request.signature) == (7, "other")


def test_golden_samples_of_strings(server: FakeServer, run: Run, tmp_path: Path) -> None:
    ran = run("golden", "words", "--output", str(tmp_path / "g.npz"), stdin='["naïve", ""]')
    assert ran.exit_code == 0, ran.stderr
    with np.load(tmp_path / "g.npz") as samples:
        assert samples["outputs/t"].tolist() == ["<naïve>".encode(), b"<>"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (["double", "--output", "golden.npy"], "[[1, 2, 3, 4]]", 2, "expected a name that ends in .npz"),
        (["double", "--output", "/nowhere/golden.npz"], "[[1, 2, 3, 4]]", 2, "there is no directory /nowhere"),
        (["nope"], "[[1, 2, 3, 4]]", 1, "model 'nope' is not served here"),
        (["double"], "[[1, 2, 3]]", 1, "expected float32[rows, 4], got "),
        (["words"], json.dumps(["a"] * 257), 2, "expected 1 to 256 rows of golden inputs, got 257"),
    ],
)
def test_what_is_no_golden_sample_is_told_and_nothing_written(
    server: FakeServer, run: Run, tmp_path: Path, arguments: list[str], stdin: str, code: int, said: Any
) -> None:
    if "--output" not in arguments:
        arguments = [*arguments, "--output", str(tmp_path / "golden.npz")]
    ran = run("golden", *arguments, stdin=stdin)
    assert ran.exit_code == code, ran.stderr
    assert said in ran.stderr
    assert not (tmp_path / "golden.npz").exists()
