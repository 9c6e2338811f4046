"""Golden samples: what the arrays of their file are called, and how many rows it may hold.

Owns what the command that writes the file and the gate that reads it must agree on. It opens nothing. Any thread.
"""

from __future__ import annotations

INPUTS, OUTPUTS = "inputs", "outputs"

#: Every row is run on its own, too, before a version goes live.
MOST_ROWS = 256


def sample_name(kind: str, tensor: str, signature: str, default_signature: str) -> str:
    """Return an array's name.

    Args:
        kind: `INPUTS` or `OUTPUTS`.
        tensor: The tensor's name.
        signature: The signature's name.
        default_signature: The model's default one, whose name is left out.
    """
    prefix = "" if signature == default_signature else f"{signature}/"
    return f"{prefix}{kind}/{tensor}"
