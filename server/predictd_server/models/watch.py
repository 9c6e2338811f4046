"""The watch: when to look at the repository again, and what has changed for good since the last time.

Owns the waiting until what was written has settled. A version counts as changed once two looks at least `settle_s`
apart saw the same new state of its files, and none in between another, so a copy under way is never loaded; one that is
gone has to stay gone likewise. It has no thread and no clock: the models thread calls it with the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from predictd_server.models.contents import Fingerprint
from predictd_server.models.found import Found
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings

#: One version of one model.
Key = tuple[str, int]

#: Stands for all versions of a model at once, where they come from another place than before. No version is 0.
_WHOLE = 0

#: What is compared: the files' state, and what is wrong with them; None for what is not there.
_State = tuple[Fingerprint, str]


@dataclass(frozen=True, slots=True)
class Change:
    """What one look found to have changed; false where nothing has.

    Attributes:
        models: All models as they are now. What has not settled yet is shown as it was before.
        added: Versions that can be loaded and could not before. One that is served all the same, because its files
            broke and were put right, is to be loaded again.
        replaced: Versions whose files are others now.
        removed: Versions that are not there any more.
        news: What there is to say that was not said before: problems, names that are no versions.
    """

    models: dict[str, Found]
    added: tuple[Key, ...] = ()
    replaced: tuple[Key, ...] = ()
    removed: tuple[Key, ...] = ()
    news: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.replaced or self.removed or self.news)


@dataclass(slots=True)
class _Unsettled:
    state: _State | None
    since_s: float


class Watch:
    """Compares what is there with what was.

    Args:
        repository: Where to look.
        interval_s: How often; 0 for never.
        settle_s: How long a change has to stay the same before it counts.
    """

    def __init__(self, repository: Repository, *, interval_s: float, settle_s: float) -> None:
        self._repository = repository
        self._interval_s = interval_s
        self._settle_s = settle_s
        self._known: dict[str, Found] = {}
        self._unsettled: dict[Key, _Unsettled] = {}
        self._said: set[str] = set()
        self._next_s: float | None = None

    @property
    def unsettled(self) -> frozenset[Key]:
        """The versions that differ from what is known and may still be changing."""
        return frozenset(self._unsettled)

    def take(self, models: Mapping[str, Found], now_s: float) -> tuple[str, ...]:
        """Take models as they were just looked at, at the start or by an order, as known; return what is news of them.

        Whoever starts the daemon or gives an order says that the files are whole, so nothing has to settle.
        """
        for name, found in models.items():
            self._known[name] = found
            for key in [key for key in self._unsettled if key[0] == name]:
                del self._unsettled[key]
        self._repository.hold(self._known)
        planned_s = self._next_s
        self._plan(now_s)
        if planned_s is not None and self._next_s is not None:
            # The other models are due when they were: orders, however often they come, put no look off.
            self._next_s = min(self._next_s, planned_s)
        return self._unsaid([*self._repository.refused, *_sayings(self._known.values())])

    def wait_s(self, now_s: float) -> float | None:
        """Return how long to wait before the next look, 0 where it is due; None where nothing is watched."""
        if self._interval_s <= 0:
            return None
        return 0.0 if self._next_s is None else max(self._next_s - now_s, 0.0)

    def look(self, now_s: float) -> Change:
        """Look at the repository, whether that is due or not."""
        seen = self._repository.look()
        before, self._known = self._known, self._settled(seen, now_s)
        self._repository.hold(self._known)
        self._plan(now_s)
        news = self._unsaid([*self._repository.refused, *_sayings(self._known.values())])
        added, replaced, removed = _difference(before, self._known)
        return Change(dict(self._known), added, replaced, removed, news)

    def _settled(self, seen: Mapping[str, Found], now_s: float) -> dict[str, Found]:
        settled: dict[str, Found] = {}
        for name in [*seen, *(name for name in self._known if name not in seen)]:
            known, there = self._known.get(name), seen.get(name)
            if there is None:
                assert known is not None
                there = gone(known.settings, self._repository.refused)
            if known is not None and known.settings != there.settings:
                settled[name] = self._moved(name, known, there, now_s)
                continue
            self._unsettled.pop((name, _WHOLE), None)
            found = replace(there, versions={}, problems={}, fingerprints={})
            # Those that wait are among them: what came and went again must not count as there all the time.
            waiting = {number for model, number in self._unsettled if model == name}
            for number in sorted(waiting | _numbers(known) | _numbers(there)):
                is_new = self._is_settled((name, number), _state(known, number), _state(there, number), now_s)
                _copy(number, there if is_new else known, found)
            settled[name] = found
        return settled

    def _moved(self, name: str, known: Found, there: Found, now_s: float) -> Found:
        """Return what counts of a model that comes from another place, with other settings perhaps: all or nothing.

        No version is ever taken by the settings of another place than its own.
        """
        for key in [key for key in self._unsettled if key[0] == name and key[1] != _WHOLE]:
            del self._unsettled[key]
        state = Fingerprint(tuple(entry for number in sorted(_numbers(there)) for entry in _entries(there, number)))
        is_new = self._is_settled((name, _WHOLE), None, (state, "; ".join(there.problems.values())), now_s)
        # The files that it had are not there to be compared: what is loaded of them goes on.
        return there if is_new else known

    def _is_settled(self, key: Key, known: _State | None, state: _State | None, now_s: float) -> bool:
        if state == known:
            self._unsettled.pop(key, None)
            return True
        waiting = self._unsettled.get(key)
        if waiting is None or waiting.state != state:
            waiting = self._unsettled[key] = _Unsettled(state, now_s)
        if now_s - waiting.since_s < self._settle_s:
            return False
        del self._unsettled[key]
        return True

    def _plan(self, now_s: float) -> None:
        settles_s = [waiting.since_s + self._settle_s for waiting in self._unsettled.values()]
        self._next_s = min([now_s + self._interval_s, *settles_s])

    def _unsaid(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Return what was not said at the last look; what was put right in between is news when it comes again."""
        saying = dict.fromkeys(texts)
        news = tuple(text for text in saying if text not in self._said)
        self._said = set(saying)
        return news


def gone(settings: ModelSettings, refused: Iterable[str]) -> Found:
    """Return what there is of a model that was there before, and that a look no longer found.

    Args:
        settings: The model's.
        refused: What that look refused, and why.
    """
    path = f"{settings.path}: "
    reason = next((text for text in refused if text.startswith(path)), f"{path}no model is there any more")
    return Found(settings, notes=(reason,))


def _numbers(found: Found | None) -> set[int]:
    return set() if found is None else {*found.versions, *found.problems}


def _state(found: Found | None, number: int) -> _State | None:
    if found is None or number not in _numbers(found):
        return None
    return found.fingerprints.get(number, Fingerprint(())), found.problems.get(number, "")


def _entries(found: Found, number: int) -> tuple[tuple[str, int, int, int], ...]:
    state = found.fingerprints.get(number, Fingerprint(()))
    return tuple((f"{number}/{name}", size, time_ns, inode) for name, size, time_ns, inode in state.entries)


def _copy(number: int, source: Found | None, target: Found) -> None:
    if source is None:
        return
    if number in source.versions:
        target.versions[number] = source.versions[number]
    if number in source.problems:
        target.problems[number] = source.problems[number]
    if number in source.fingerprints:
        target.fingerprints[number] = source.fingerprints[number]


def _sayings(models: Iterable[Found]) -> list[str]:
    return [text for found in models for text in (*found.notes, *found.problems.values())]


def _difference(
    before: Mapping[str, Found], now: Mapping[str, Found]
) -> tuple[tuple[Key, ...], tuple[Key, ...], tuple[Key, ...]]:
    old = {(name, number): found.fingerprints[number] for name, found in before.items() for number in found.versions}
    new = {(name, number): found.fingerprints[number] for name, found in now.items() for number in found.versions}
    broken = {(name, number) for name, found in now.items() for number in found.problems}
    return (
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(key for key in new.keys() & old.keys() if new[key] != old[key])),
        tuple(sorted(old.keys() - new.keys() - broken)),
    )
