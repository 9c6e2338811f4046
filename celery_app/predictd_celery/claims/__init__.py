"""Arrays kept out of messages: put into a store when a message is written, fetched by whoever needs them (claim check).

Owns the settings, the stores and what stands in the message instead. Nothing here knows a serializer or a task, and
nothing but `claim_check.py` keeps a state.

What a message can do: name a claim by the digest of its content. It says neither which store nor where in it; those
are this process' own settings. So it reaches nothing that was not put there as a claim, and no claim whose content it
doesn't know already.
"""

from __future__ import annotations
