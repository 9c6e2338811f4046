"""What became of an order, as callers get it.

Owns the record. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictd_proto.metadata import ModelMetadata


@dataclass(frozen=True, slots=True)
class OrderResult:
    """What became of an order.

    Attributes:
        done: What the server did, in words, in order.
        models: The versions of the models that the order was about, as they were then, newest first: 1024 at most, of
            which none that is served is left out.
    """

    done: tuple[str, ...]
    models: tuple[ModelMetadata, ...]
