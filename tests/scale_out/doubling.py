"""A fake that stands in for the daemon of `tests/make_models.py`'s `sequence.keras`, file digest and all."""

from __future__ import annotations

import os

from numpy.typing import NDArray

from predictd.testing import FakeModel

#: What runs already knew of the file: hosts that serve another one are refused.
DIGEST = "SCALE_OUT_DIGEST"


def doubled(words: NDArray) -> NDArray:
    """What the real one computes."""
    return words * 2


SEQUENCE = FakeModel(
    "sequence",
    inputs={"words": ("float32", (None, None, 4))},
    outputs={"rescaling_1": ("float32", (None, None, 4))},
    answer=doubled,
    digest=os.environ.get(DIGEST, ""),
)
