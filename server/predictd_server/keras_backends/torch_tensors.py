"""Between numpy's memory and PyTorch's.

Owns bfloat16, which numpy doesn't have, and the way to and from a device. Any thread.
"""

from __future__ import annotations

from typing import Any

import keras
import ml_dtypes
import numpy as np
import torch  # pyright: ignore[reportMissingImports]  (an extra of its own)
from numpy.typing import NDArray

from predictd_proto.dtypes import BFLOAT16

_BFLOAT16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
_CPU = torch.device("cpu")


def device_of(model: Any) -> torch.device:
    """Return where a model's weights are; the CPU for one that has none."""
    return next((variable.value.device for variable in model.variables), _CPU)


def to_tensor(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return an array as a tensor, which on the CPU shares its memory."""
    if array.dtype.name == BFLOAT16:
        tensor = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(array)
    return tensor if device == _CPU else tensor.to(device)


def to_array(leaf: Any) -> NDArray[Any]:
    """Return a model's answer as an array, which shares the memory of a tensor on the CPU."""
    if not isinstance(leaf, torch.Tensor):
        return np.asarray(keras.ops.convert_to_numpy(leaf))
    tensor = leaf.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.contiguous().view(torch.int16).numpy()).view(_BFLOAT16)
    return np.asarray(tensor.numpy())


def release_weights(model: Any) -> None:
    """Give the memory of a model's weights back, whoever still holds the model: it is full of reference cycles."""
    for variable in model.variables:
        variable.value.data = torch.empty(0, dtype=variable.value.dtype)
