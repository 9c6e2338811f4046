"""Stale plans: what it means for a request that another version answered it than the one it was made for.

Owns the rule by which such an answer is taken, or the request made anew: a server checks names, dtypes and shapes, so
which of the caller's arrays went by which name is the one thing that may be wrong without anybody's notice. It asks
nobody. Any thread.
"""

from __future__ import annotations

from predictd.requests.catalogue import Plan
from predictd_proto.errors import RemoteProtocolError

#: How often a request is made anew. Versions that change within each of several round trips are no versions.
MOST_REMAKES = 3


def asks_alike(made_by: Plan, answered_by: Plan) -> bool:
    """Whether a request made by one plan is what the other would have made of the same inputs."""
    before, now = made_by.spec, answered_by.spec
    return before.input_structure == now.input_structure and before.inputs == now.inputs


def is_sure(made_by: Plan) -> bool:
    """Whether a request that was accepted was made rightly, whatever the version takes that answered it.

    One input can't be taken for another.
    """
    return isinstance(made_by.spec.input_structure, str)


def ever_another(made_by: Plan, version: int) -> RemoteProtocolError:
    """Return the error for a request that was made anew often enough."""
    text = (
        f"{made_by.label}: the request was made anew {MOST_REMAKES} times, each time by what the server told of the "
        f"model, and answered by a version that takes other inputs or that can't be asked about, now {version}"
    )
    return RemoteProtocolError(text)
