"""Arrays as tests put them into a claim store, at a time of their own."""

from __future__ import annotations

import numpy as np

from predictd_celery.claims.claim import Claim
from predictd_celery.claims.claim_check import ClaimCheck
from predictd_proto.tensors import Tensor

DIGEST = "a" * 64
NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def kept(check: ClaimCheck, array: np.ndarray, **options: bool) -> Claim:
    claim = check.kept(Tensor.from_array("x", array), **options)
    assert claim is not None
    return claim
