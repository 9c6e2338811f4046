"""The protocol's version: what this build speaks and the oldest it still accepts.

Owns two numbers and the rule that compares them. Knows nothing of the package's version, which moves on its own.
Any thread may call it.
"""

from __future__ import annotations

from predictd_proto.errors import ProtocolVersionError

#: Written in every message. Raise it when an older peer would misread a message; adding a header key that an
#: older peer may ignore does not need it.
PROTOCOL_VERSION = 1

#: Peers that speak nothing newer than a version below this one are refused.
OLDEST_PROTOCOL_VERSION = 1


def choose_version(
    *,
    their_oldest: int,
    their_newest: int,
    our_oldest: int = OLDEST_PROTOCOL_VERSION,
    our_newest: int = PROTOCOL_VERSION,
    them: str,
) -> int:
    """Return the newest protocol version that both sides speak.

    Args:
        their_oldest: Oldest version the peer accepts.
        their_newest: Newest version the peer speaks.
        our_oldest: Oldest version accepted here.
        our_newest: Newest version spoken here.
        them: What the peer is ("client", "server"); used in the error's text.

    Raises:
        ProtocolVersionError: The ranges do not meet; the text says which side is older.
    """
    version = min(their_newest, our_newest)
    if version >= max(their_oldest, our_oldest):
        return version
    us = "client" if them == "server" else "server"
    older = them if their_newest < our_oldest else us
    text = (
        f"the {older} is older: this {us} speaks protocol {our_oldest} to {our_newest}, "
        f"the {them} speaks {their_oldest} to {their_newest}; upgrade predictd on the {older}'s side"
    )
    detail = {"ours": [our_oldest, our_newest], "theirs": [their_oldest, their_newest], "older": older}
    raise ProtocolVersionError(text, detail)
