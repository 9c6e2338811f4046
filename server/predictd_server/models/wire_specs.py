"""Wire specs: a model's tensor, as a library describes it, in the words of the wire.

Owns the refusal of tensors that can't be sent. It imports no library; who knows one hands over plain names and numbers.
Loader thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictd_proto.dtypes import is_dtype
from predictd_proto.errors import ModelLoadError
from predictd_proto.tensors import TensorSpec


def wire_spec(name: str, dtype: str, shape: Sequence[int | None] | None) -> TensorSpec:
    """Return a tensor's spec.

    Args:
        name: Its name.
        dtype: The name of its dtype.
        shape: Its shape; axes may be None. None where even their number is unknown.

    Raises:
        ModelLoadError: It can't be served: an unknown number of axes, or a dtype without a form on the wire.
    """
    if not is_dtype(dtype):
        text = f"tensor {name!r} has the dtype {dtype}, which can't be sent; expected numbers, booleans or strings"
        raise ModelLoadError(text)
    if shape is None:
        text = f"input {name!r} has an unknown number of axes; save the model with a signature that gives its shape"
        raise ModelLoadError(text)
    return TensorSpec(name, dtype, tuple(shape))
