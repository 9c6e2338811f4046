"""One model twice: as Keras has loaded it, and as the daemon serves it.

Owns calling both in the same way and comparing what comes back: structure, key order, dtypes, shapes, values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import predictd

#: Rows run in other batches, by other kernels, with constants folded: the last digits differ.
TOLERANCE = {"float16": 1e-2, "bfloat16": 5e-2, "float32": 2e-5, "float64": 2e-5}

Call = Callable[[Any], Any]


class Pair:
    """A local Keras model and its remote twin.

    Attributes:
        local: The Keras model.
        remote: The remote model.
        rows: Makes rows for both, nested as `predict` takes them.
    """

    def __init__(self, local: Any, remote: predictd.RemoteModel, rows: Callable[[int], Any]) -> None:
        self.local = local
        self.remote = remote
        self.rows = rows

    def same(self, call: Call, *, is_fresh: bool = True) -> Any:
        """Do the same with both and check that the remote answer is Keras' own; return it."""
        expected = self.of_keras(call, is_fresh=is_fresh)
        got = call(self.remote)
        assert_same(got, expected)
        return got

    def refused(self, call: Call) -> str:
        """Check that both refuse a call; return what the remote model says."""
        assert isinstance(self.keras_error(call), Exception), "Keras takes it"
        return self.remote_refusal(call)

    def remote_refusal(self, call: Call) -> str:
        """Return what the remote model says to a call that it refuses."""
        with pytest.raises(predictd.TensorMismatchError) as caught:
            call(self.remote)
        assert str(caught.value).startswith(f"model {self.remote.name!r}"), caught.value
        return str(caught.value)

    def of_keras(self, call: Call, *, is_fresh: bool = True) -> Any:
        """Return what Keras answers, traced for this call alone: an earlier call's trace changes what it takes."""
        if is_fresh:
            self.local.predict_function = None
        with warnings.catch_warnings():
            # Keras warns of other nestings, of generators that end, of numpy's own protocol.
            warnings.simplefilter("ignore")
            return as_numpy(call(self.local))

    def keras_error(self, call: Call) -> BaseException | None:
        """Return what Keras raises; None where it answers."""
        try:
            self.of_keras(call)
        except Exception as error:
            return error
        return None


def as_numpy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_numpy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(as_numpy(item) for item in value)
    return np.asarray(value)


def assert_same(got: Any, expected: Any, where: str = "output") -> None:
    """Compare nests of arrays; floats within the tolerance of their dtype, everything else exactly."""
    assert type(got) is type(expected), f"{where}: {type(got)} for {type(expected)}"
    if isinstance(expected, dict):
        assert list(got) == list(expected), where
        for key, value in expected.items():
            assert_same(got[key], value, f"{where}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        assert len(got) == len(expected), where
        for index, value in enumerate(expected):
            assert_same(got[index], value, f"{where}[{index}]")
    else:
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape), where
        tolerance = TOLERANCE.get(expected.dtype.name)
        if tolerance is None:
            np.testing.assert_array_equal(got, expected, where)
        else:
            wide = (np.asarray(got, np.float64), np.asarray(expected, np.float64))
            np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance, err_msg=where)
