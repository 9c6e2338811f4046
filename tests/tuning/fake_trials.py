"""Trials that run nothing: their durations are made up, with or without noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from predictd_proto.errors import ModelLoadError
from predictd_server.tuning.trial import Loaded, Trial
from predictd_server.tuning.variant import Variant

LADDER = (1, 2, 4, 8, 16, 32, 64)

#: Seconds of a run of some rows with some settings.
Cost = Callable[[int, Mapping[str, Any]], float]


class FakeTrial:
    """A trial of which every run takes what `cost` says."""

    def __init__(self, owner: FakeTrials, settings: Mapping[str, Any]) -> None:
        self._owner = owner
        self._settings = settings
        self.is_open = True
        notes = ("xla = true has no effect: slower",) if settings.get("xla") == "slower" else ()
        sizes = owner.sizes_by_setting.get(next(iter(settings), ""), owner.sizes)
        self.loaded = Loaded("session", sizes, row_bytes=100, memory_bytes=1, notes=notes)

    def durations_s(self, rows: int, seconds: float) -> list[float]:
        assert self.is_open
        if rows > self._owner.fails_beyond:
            text = f"it fails with {rows} rows"
            raise ModelLoadError(text)
        return [self._owner.cost(rows, self._settings)]

    def close(self) -> None:
        self.is_open = False


@dataclass
class FakeTrials:
    """Starts them, and knows which are open."""

    cost: Cost
    sizes: tuple[int, ...] = LADDER
    fails_beyond: int = 1 << 30
    broken: str = ""
    #: Of trials whose first setting has that name.
    sizes_by_setting: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    started: list[FakeTrial] = field(default_factory=list)
    most_open: int = 0

    def __call__(self, variant: Variant) -> Trial:
        settings = {**variant.server, **variant.model}
        if self.broken in settings or (self.broken == "all"):
            text = f"{self.broken}: it can't be loaded"
            raise ModelLoadError(text)
        self.started.append(FakeTrial(self, settings))
        self.most_open = max(self.most_open, sum(trial.is_open for trial in self.started))
        return self.started[-1]
