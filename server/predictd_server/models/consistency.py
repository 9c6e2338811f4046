"""Contradictions among one model's settings: what can never be meant together, and what would have no effect.

Owns what is certain before any file is looked at. Main thread, once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from predictd_proto.errors import ConfigError
from predictd_server.models.fields import KEY_PATTERNS
from predictd_server.models.settings import PAD, REFUSE, SERVE, ModelSettings


def check_consistent(settings: ModelSettings, given: Collection[str], origin: str) -> None:
    """Refuse settings that contradict each other.

    Args:
        settings: One model's, or those of all models in a directory.
        given: The fields that were set.
        origin: Where, for errors.

    Raises:
        ConfigError: They do; the text names the field.
    """
    for name, why in (
        *_keys(settings),
        *_versions(settings),
        *_batches(settings, given),
        *_lengths(settings, given),
        *_code(settings),
    ):
        text = f"{origin}: {name}: {why}"
        raise ConfigError(text)


def _keys(settings: ModelSettings) -> Iterator[tuple[str, str]]:
    for name, (pattern, rule) in KEY_PATTERNS.items():
        for key in getattr(settings, name):
            if not pattern.fullmatch(key):
                yield name, f"{key!r}: expected {rule}"


def _versions(settings: ModelSettings) -> Iterator[tuple[str, str]]:
    served = settings.versions if isinstance(settings.versions, tuple) else None
    if served is not None and len(set(served)) < len(served):
        yield "versions", f"{list(served)} holds a version twice"
    default = settings.default_version
    if isinstance(default, str) and default not in settings.labels:
        have = ", ".join(map(repr, settings.labels)) or "none"
        yield "default_version", f"{default!r} is no label of this model; there are {have}: add it to labels"
    if served is None:
        return
    advice = "add it to versions or name another"
    if isinstance(default, int) and default not in served:
        yield "default_version", f"{default} is never served: versions = {list(served)}; {advice}"
    for label, version in settings.labels.items():
        if version not in served:
            yield "labels", f"{label} = {version} is never served: versions = {list(served)}; {advice}"


def _batches(settings: ModelSettings, given: Collection[str]) -> Iterator[tuple[str, str]]:
    sizes = settings.batch_sizes
    if list(sizes) != sorted(set(sizes)):
        yield "batch_sizes", f"{list(sizes)}: expected them ascending, each once: {sorted(set(sizes))}"
    if {"batch_sizes", "max_batch_size"} <= set(given):
        yield "max_batch_size", f"has no effect: batch_sizes = {list(sizes)} says which sizes there are; remove one"


def _lengths(settings: ModelSettings, given: Collection[str]) -> Iterator[tuple[str, str]]:
    lengths = settings.lengths
    if list(lengths) != sorted(set(lengths)):
        yield "lengths", f"{list(lengths)}: expected them ascending, each once: {sorted(set(lengths))}"
    if settings.unseen_lengths != SERVE and not lengths:
        yield "unseen_lengths", f"{settings.unseen_lengths!r} needs lengths: add lengths = [16, 64, 256], or so"
    if "pad_value" in given and settings.unseen_lengths != PAD:
        yield "pad_value", f"has no effect: nothing is padded with unseen_lengths = {settings.unseen_lengths!r}"


def _code(settings: ModelSettings) -> Iterator[tuple[str, str]]:
    if settings.modules and settings.unsafe == REFUSE:
        yield "modules", f"{list(settings.modules)} are code, and unsafe = {REFUSE!r} refuses code: remove one of them"
