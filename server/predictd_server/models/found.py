"""What there is of one model on disk: the record that the repository, the policy and the loader share.

Owns the record alone. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from predictd_server.models.contents import Fingerprint
from predictd_server.models.files import ModelFile
from predictd_server.models.settings import ModelSettings


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of one model.

    Attributes:
        settings: The model's settings, name and path filled in.
        versions: The versions that can be loaded, as far as can be told without loading them.
        problems: The versions that can't, and why.
        notes: What else there is to say: names that are no versions, a path that is gone.
        fingerprints: The state of each version's files, also of those with problems.
    """

    settings: ModelSettings
    versions: dict[int, ModelFile] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    fingerprints: dict[int, Fingerprint] = field(default_factory=dict)
