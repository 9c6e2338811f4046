"""The answer to one predict call, as its caller gets it.

Owns `Prediction` and how it reads. Any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from predictd.requests.catalogue import Plan
from predictd_proto.known_replies import Fields, KnownReply, ReplyKind
from predictd_proto.messages import PredictResponse, Receipt

if TYPE_CHECKING:
    from numpy.typing import NDArray

_USE_OUTPUTS = "a Prediction is the outputs and a receipt, and no array: use .outputs"

UnmadeReceipt = tuple[ReplyKind, Fields]


class Prediction:
    """Outputs and receipt of one call.

    Attributes:
        outputs: An array, or a list or dict of arrays, as the model's signature nests them. The arrays own their memory
            and may be written to.
        receipt: What the server did: the version that answered, the time spent and the batch it was part of.
    """

    __slots__ = ("_receipt", "outputs")

    outputs: Any

    def __init__(self, outputs: Any, receipt: Receipt | UnmadeReceipt) -> None:
        self.outputs = outputs
        self._receipt = receipt

    @property
    def receipt(self) -> Receipt:
        """What the server did."""
        receipt = self._receipt
        if isinstance(receipt, Receipt):
            return receipt
        # Most callers never look, and making one takes longer than making the outputs.
        kind, fields = receipt
        made = self._receipt = kind.receipt(fields)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return (Prediction, (self.outputs, self.receipt))

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        # Without this numpy would take it for a single object, silently.
        outputs = self.outputs
        if not isinstance(outputs, np.ndarray):
            text = f"a Prediction of several outputs is no array: use .outputs, {describe(outputs)}"
            raise TypeError(text)
        array = outputs if dtype is None else outputs.astype(dtype, copy=False)
        return array.copy() if copy else array

    def __bool__(self) -> bool:
        return True

    if not TYPE_CHECKING:
        # Who takes it for an array is told. A type checker would take every misspelt name for one that is there.

        def __len__(self) -> NoReturn:
            raise TypeError(_USE_OUTPUTS)

        def __iter__(self) -> NoReturn:
            raise TypeError(_USE_OUTPUTS)

        def __getitem__(self, _: object) -> NoReturn:
            raise TypeError(_USE_OUTPUTS)

        def __getattr__(self, name: str) -> NoReturn:
            hint = f": use .outputs.{name}" if hasattr(np.ndarray, name) else ""
            text = f"a Prediction has no attribute {name!r}{hint}"
            raise AttributeError(text, name=name, obj=self)

    def __repr__(self) -> str:
        return f"<Prediction {describe(self.outputs)} by {self.receipt}>"


def prediction_of(answer: PredictResponse, plan: Plan) -> Prediction:
    """Return an answer as its caller gets it.

    Args:
        answer: The server's.
        plan: The one that reads it: its outputs fit.
    """
    if type(answer) is KnownReply:
        return Prediction(plan.outputs_of(answer), (answer.kind, answer.fields))
    return Prediction(plan.outputs(answer.tensors), answer.receipt)


def describe(value: Any) -> str:
    """Return a nest of arrays as text: dtypes and shapes in place of numbers."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(describe(item) for item in value) + "]"
    array: NDArray[Any] = np.asarray(value)
    name = "string" if array.dtype.kind in "OSU" else array.dtype.name
    return f"{name}{list(array.shape)}"
