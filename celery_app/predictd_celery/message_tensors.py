"""Arrays on their way into a message.

Owns the last look at them before they become bytes or numbers. Any thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_proto.errors import LocalProtocolError
from predictd_proto.tensors import Tensor


def message_tensor(array: NDArray[Any]) -> Tensor:
    """Return an array's bytes as they stand in a message.

    Raises:
        LocalProtocolError: Its dtype can't travel, or it has a mask.
    """
    refuse_mask(array)
    return Tensor.from_array("array in a message", array)


def refuse_mask(array: NDArray[Any]) -> None:
    """Raise where numbers would travel and the mask that hides some of them would not."""
    if isinstance(array, np.ma.MaskedArray):
        message = (
            f"a masked {array.dtype}{list(array.shape)} array can't travel in a message: its mask would be lost, and "
            "what it hides would count; fill it first: array.filled(value)"
        )
        raise LocalProtocolError(message)
