"""The Django example's task, without a worker: what it makes of the model's answer."""

from __future__ import annotations

from tests.client.fake_process import run_program

PROGRAM = """
import os
os.environ["DJANGO_DEBUG"] = "1"
import numpy as np
from examples.django_digits.tasks import recognise
from predictd.testing import FakeModel, in_process

def digits(answer):
    return FakeModel("digits", inputs=("float32", (None, 1)), outputs=("float32", (None, 2)), answer=answer)

for answer in ([0.25, 0.75], [0.25, float("nan")]):
    with in_process(digits(answer)):
        try:
            print(recognise(np.zeros((1, 1), "float32"))["scores"].tolist())
        except ValueError as error:
            print(error)
"""


def test_scores_that_are_no_numbers_are_an_error_and_no_answer() -> None:
    """JSON has no NaN: the page could not read it."""
    ran = run_program(PROGRAM)
    assert ran.stdout.splitlines() == [
        "[0.25, 0.75]",
        "digits version 1: expected scores that are finite, got [0.25  nan]",
    ], ran.stderr
