"""Notes of a version on settings that do less for it than they seem to. No TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from predictd_server.models.serving_notes import class_notes, serving_notes
from predictd_server.models.settings import ModelSettings
from predictd_server.serving.caller_class import CallerClass, CallerClasses
from predictd_server.serving.served import ServedSignature
from tests.server.sample_models import signature

FREE = {"x": ("float32", (None, None))}
CACHE_LEAST = 256 + 2 * 384 + 8


def notes_of(*signatures: ServedSignature, **settings: Any) -> list[str]:
    made = ModelSettings(name="m", path=Path("/m"), **settings)
    served = {each.spec.name: replace(each, settings=made) for each in signatures}
    return list(serving_notes(served))


def test_lengths_for_a_model_that_has_no_free_axis_are_told_once() -> None:
    fixed, other = signature(abs), signature(abs, name="other")
    [note] = notes_of(fixed, other, lengths=(16, 64))
    assert note.startswith("lengths = [16, 64] has no effect: no input of it has a free axis but the rows'")
    assert notes_of(fixed, other) == []
    assert notes_of(fixed, signature(abs, FREE, name="other"), lengths=(16, 64)) == []


@pytest.mark.parametrize("cache_bytes", [1, CACHE_LEAST - 1])
def test_a_cache_that_holds_no_answer_is_told_with_what_the_smallest_takes(cache_bytes: int) -> None:
    [note] = notes_of(signature(abs), cache_bytes=cache_bytes)
    assert f"cache_bytes = {cache_bytes} keeps none of its answers: the smallest takes {CACHE_LEAST} bytes" in note


def test_a_cache_that_holds_an_answer_is_no_matter_to_tell() -> None:
    assert notes_of(signature(abs), cache_bytes=CACHE_LEAST) == []
    assert notes_of(signature(abs, outputs={"y": ("string", (None, None))}), cache_bytes=CACHE_LEAST - 8) == []


def test_answers_that_can_t_be_kept_are_told() -> None:
    [note] = notes_of(replace(signature(abs), is_repeatable=False), cache_bytes=1 << 20)
    assert "cache_bytes has no effect: it was not seen to answer the same input the same way twice" in note


def test_classes_for_which_fewer_rows_are_kept_than_a_request_counts_are_told() -> None:
    classes = CallerClasses([CallerClass(name="web", weight=8.0), CallerClass(name="bulk", weight=0.5)])
    served = {"serve": replace(signature(abs), sizes=(1, 8, 64))}
    [note] = class_notes(served, classes, 1000)
    assert "of max_queue_rows = 1000 fewer rows are kept than one request of 64 counts" in note
    assert "(26 for 'bulk', 52 for 'default')" in note
    own = {"serve": replace(served["serve"], settings=ModelSettings(name="m", path=Path("/m"), max_queue_rows=10))}
    [note] = class_notes(own, classes, 1000)
    assert "0 for 'bulk'" in note
    assert list(class_notes(served, classes, 10_000)) == []
    assert list(class_notes(served, CallerClasses(), 10)) == []
    alone = {"serve": replace(served["serve"], sizes=())}
    assert list(class_notes(alone, classes, 1000)) == []
