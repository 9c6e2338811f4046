"""Arguments and results with their large arrays in the claim store, and the claims that such trees hold.

Owns putting them away, leaf by leaf; what is large, and where it goes, is the claim check's. Runs in whatever enqueues,
and in the thread that runs a task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from predictd_celery.claims.claim import Claim
from predictd_celery.claims.claim_check import claim_check
from predictd_celery.claims.claimed_array import ClaimedArray
from predictd_celery.message_tensors import message_tensor
from predictd_celery.tensor_json import CLAIM, encode_arrays, is_claim
from predictd_celery.trees import map_leaves


def with_claims(value: Any, *, is_single_use: bool = False) -> Any:
    """Return a tree whose large arrays are in the claim store; the same tree where none is.

    Args:
        value: Dicts, lists and tuples around arrays and anything else.
        is_single_use: Give them claims of their own, which may be deleted after use.

    Raises:
        ClaimError: An array could not be put away.
    """
    leaf = claimed_leaf(is_single_use=is_single_use)
    return value if leaf is None else map_leaves(value, leaf)


def claimed_leaf(*, is_single_use: bool = False) -> Callable[[Any], Any] | None:
    """Return the function that puts a large array away and leaves any other leaf; None where nothing is put away."""
    check = claim_check()
    least = check.settings.check_bytes
    if least is None:
        return None

    def leaf(value: Any) -> Any:
        # Text has another size in a message than in memory.
        if not isinstance(value, np.ndarray) or (value.nbytes < least and value.dtype.kind in "fiubc"):
            return value
        claim = check.kept(message_tensor(value), is_single_use=is_single_use)
        return value if claim is None else ClaimedArray(claim)

    return leaf


def enveloped(value: Any) -> Any:
    """Return a tree for JSON that keeps its arrays: large ones in the claim store, the others in envelopes.

    Raises:
        LocalProtocolError: An array's dtype can't travel.
        ClaimError: An array could not be put away.
    """
    return encode_arrays(with_claims(value))


def claims_in(value: Any) -> list[Claim]:
    """Return the claims in a tree of arguments, however they came."""
    found: list[Claim] = []

    def leaf(value: Any) -> Any:
        if isinstance(value, ClaimedArray):
            found.append(value.claim)
        elif is_claim(value):
            found.append(Claim.from_fields(value[CLAIM]))
        return value

    map_leaves(value, leaf)
    return found
