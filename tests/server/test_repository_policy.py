"""Which versions are wanted: properties that hold for every policy and whatever there is."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.found import Found
from predictd_server.models.policy import wanted
from predictd_server.models.settings import ALL_VERSIONS, ModelSettings

PATH = Path("/m")
NUMBERS = st.integers(1, 12)
SETS = st.frozensets(NUMBERS, max_size=6)
LABELS = st.dictionaries(st.sampled_from(["stable", "canary", "old"]), NUMBERS, max_size=3)


def found(there: frozenset[int], broken: frozenset[int] = frozenset(), **settings: object) -> Found:
    return Found(
        ModelSettings(name="m", path=PATH, **settings),  # type: ignore[arg-type]
        {number: ModelFile("m", PATH, ModelFormat.KERAS, number) for number in there - broken},
        dict.fromkeys(broken, "broken"),
    )


@given(SETS, SETS, SETS, st.one_of(NUMBERS, st.just(ALL_VERSIONS), SETS.map(tuple)), LABELS, st.none() | NUMBERS)
def test_only_what_is_there_or_served_is_wanted_newest_first_each_once(there, broken, ready, versions, labels, default):
    model = found(there, broken, versions=versions, labels=labels, default_version=default)
    chosen = wanted(model, ready)
    assert list(chosen) == sorted(set(chosen), reverse=True)
    assert set(chosen) <= set(model.versions) | ready


@given(SETS, NUMBERS)
def test_the_newest_so_many(there: frozenset[int], count: int) -> None:
    chosen = wanted(found(there, versions=count))
    assert chosen == tuple(sorted(there, reverse=True)[:count])


@given(SETS, SETS)
def test_those_listed_as_far_as_they_are_there(there: frozenset[int], listed: frozenset[int]) -> None:
    assert set(wanted(found(there, versions=tuple(listed)))) == there & listed


@given(SETS)
def test_all(there: frozenset[int]) -> None:
    assert set(wanted(found(there, versions=ALL_VERSIONS))) == there


@given(SETS, NUMBERS, LABELS, NUMBERS)
def test_what_has_a_name_is_wanted_beside_the_newest(there, count, labels, default) -> None:
    named = there & {*labels.values(), default}
    chosen = set(wanted(found(there, versions=count, labels=labels, default_version=default)))
    assert chosen == set(sorted(there, reverse=True)[:count]) | named


@given(SETS, SETS, st.one_of(NUMBERS, st.just(ALL_VERSIONS)))
def test_what_is_served_stays_while_its_files_are_broken(there, broken, versions) -> None:
    """Files that break change nothing as long as what they held is in memory."""
    ready = wanted(found(there | broken, versions=versions))
    assert wanted(found(there | broken, broken, versions=versions), ready) == ready


@given(SETS, st.one_of(NUMBERS, st.just(ALL_VERSIONS), SETS.map(tuple)))
def test_what_is_served_stays_when_nothing_else_can_take_its_place(ready: frozenset[int], versions: object) -> None:
    assert set(wanted(found(frozenset(), versions=versions), ready)) == ready
