"""An array that is in the claim store: what a message's reader has until somebody needs the numbers.

Owns the stand-in and when it fetches. A worker's parent makes one for each claim of a message and fetches nothing: it
looks at messages to hand them on. The first use fetches, in the thread and process that uses it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from predictd_celery.claims.claim import Claim
from predictd_celery.claims.claim_check import claim_check
from predictd_proto.dtypes import BFLOAT16, NUMPY_DTYPES, STRING


class ClaimedArray(NDArrayOperatorsMixin):
    """Stands in for a numpy array, whose functions, operators and methods it takes.

    `isinstance(it, numpy.ndarray)` is what it can't answer; `array()` and `numpy.asarray(it)` give the array itself.

    Args:
        claim: Where it is.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self._array: NDArray[Any] | None = None

    @classmethod
    def from_fields(cls, fields: object) -> ClaimedArray:
        """Return the stand-in for a claim out of a message.

        Raises:
            RemoteProtocolError: It is no claim.
        """
        return cls(Claim.from_fields(fields))

    def array(self) -> NDArray[Any]:
        """Return the array; the first call fetches it.

        Raises:
            ClaimExpiredError: It is gone.
            ClaimError: What is there is something else.
            ClaimStoreUnavailableError: The store can't be asked now.
        """
        if self._array is None:
            self._array = claim_check().redeemed(self.claim)
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """Axis lengths, without a fetch."""
        return self.claim.shape

    @property
    def ndim(self) -> int:
        """Number of axes, without a fetch."""
        return len(self.claim.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Numpy's dtype, without a fetch where numpy has it for sure."""
        if self.claim.dtype == STRING:
            return np.dtype(object)
        if self.claim.dtype == BFLOAT16:
            return self.array().dtype
        return NUMPY_DTYPES[self.claim.dtype]

    def __repr__(self) -> str:
        return f"<{self.claim}, claimed>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.array()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                message = f"a {array.dtype} array can't be seen as {dtype} without a copy"
                raise ValueError(message)
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            kwargs["out"] = tuple(_fetched(item) for item in kwargs["out"])
        return getattr(ufunc, method)(*map(_fetched, inputs), **kwargs)

    def __len__(self) -> int:
        return len(self.array())

    def __iter__(self) -> Any:
        return iter(self.array())

    def __getitem__(self, index: Any) -> Any:
        return self.array()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array()[index] = _fetched(value)

    def __bool__(self) -> bool:
        return bool(self.array())

    def __float__(self) -> float:
        return float(self.array())

    def __int__(self) -> int:
        return int(self.array())

    def __getattr__(self, name: str) -> Any:
        # Private names are asked for by copy, pickle and numpy, to learn what this is; they must not fetch.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.array(), name)


def _fetched(value: Any) -> Any:
    return value.array() if isinstance(value, ClaimedArray) else value
