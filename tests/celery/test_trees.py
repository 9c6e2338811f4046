"""The walk over arguments and results: what stays, what is made anew, and where it ends."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd_celery import decode_arrays, encode_arrays
from predictd_celery.message_codec import encode
from predictd_celery.trees import map_leaves
from predictd_proto.errors import LocalProtocolError

TREES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)


def upper(leaf: Any) -> Any:
    return leaf.upper() if isinstance(leaf, bytes) else leaf


def by_hand(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: by_hand(item) for key, item in tree.items()}
    return type(tree)(map(by_hand, tree)) if isinstance(tree, (list, tuple)) else upper(tree)


@given(TREES)
def test_every_leaf_is_asked_and_the_form_stays(tree: Any) -> None:
    assert map_leaves(tree, upper) == by_hand(tree)
    assert map_leaves(tree, lambda leaf: leaf) is tree


def test_only_the_way_to_a_changed_leaf_is_made_anew() -> None:
    tree: dict[str, Any] = {"same": [[1.0], (2, b"Z")], "other": [b"a"]}
    found = map_leaves(tree, upper)
    assert found == {"same": [[1.0], (2, b"Z")], "other": [b"A"]}
    assert found["same"][0] is tree["same"][0]


def test_for_json_there_are_lists_dicts_and_plain_keys() -> None:
    tree = MappingProxyType({np.int64(1): (1, (2,)), "x": OrderedDict(y=b"a")})
    found = map_leaves(tree, upper, as_json=True)
    assert found == {1: [1, [2]], "x": {"y": b"A"}}
    assert [type(part) for part in (found, next(iter(found)), found["x"])] == [dict, int, dict]


def looped() -> list[Any]:
    loop: list[Any] = []
    loop.append({"x": (loop,)})
    return loop


def deep() -> list[Any]:
    tree: list[Any] = []
    for _ in range(5000):
        tree = [tree]
    return tree


@pytest.mark.parametrize("write", [encode_arrays, decode_arrays, encode])
@pytest.mark.parametrize("make", [looped, deep])
def test_what_has_no_end_is_said(write: Callable[[Any], Any], make: Callable[[], Any]) -> None:
    with pytest.raises(LocalProtocolError, match="no loops"):
        write(make())
