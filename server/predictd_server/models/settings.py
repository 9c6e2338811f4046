"""One model's settings: where it comes from, which versions are served and labelled, and how requests for it are run.

Owns the record. Where its values come from is `entries.py`'s; what they do, their users'. Frozen; any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

#: Every version there is.
ALL_VERSIONS = "all"

#: What becomes of a request whose free axes have a length that none of `lengths` is.
PAD, SERVE, REJECT = "pad", "serve", "reject"

#: What becomes of a file that carries code, or that a loader may run code for (`.h5`, Lambda layers, custom objects).
REFUSE, WARN, ALLOW = "refuse", "warn", "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What is set for one model.

    Attributes:
        name: What clients call it; empty in an entry whose path gives the names: a directory of models gives several.
        path: Its file, its directory, or the directory of its numbered versions; absolute. In an entry also a directory
            of models.
        versions: Which are served: the newest so many (an int), `ALL_VERSIONS`, or exactly these (a tuple).
        default_version: What a request gets that names none: a version or a label; None for the newest that is ready.
        labels: Versions by label.
        max_batch_size: Most rows in one run; None for the server's.
        batch_sizes: The allowed batch sizes, ascending: these and no others; empty for those that are found to pay
            while it is warmed up.
        max_batch_elements: Most elements of its largest input in one run of several rows, padding included, where rows
            may have any length; None for no bound.
        batch_timeout_ms: Batch window in milliseconds; None for the server's.
        max_queue_rows: Rows of this model that may wait; None for the server's, which holds for each model by itself.
        weight: Its share of the engine's time against the other models', while all want it.
        priority: Its requests go before those with a lower one; that of the caller's class is added.
        lengths: The lengths that free axes other than the rows' are expected to have, ascending; empty for any.
        unseen_lengths: `PAD` (to the next of `lengths`; longer ones are refused), `SERVE` as it is, or `REJECT`.
        pad_value: What padding is filled with (strings: the empty one). A model that doesn't mask it may answer
            otherwise than without padding: that is the operator's choice.
        cache_bytes: How much of its answers is kept for requests that come again, and whether those that ask the same
            at once share one run; 0 for neither.
        signature: The signature that a request gets that names none; None for the file's own default.
        tags: A SavedModel's tags; empty for "serve".
        inputs: A frozen graph's inputs: the caller's names for its tensors; empty: every placeholder.
        outputs: Its outputs, likewise; empty: every tensor that nothing else uses.
        modules: Python modules to import before it is loaded: they register its custom objects.
        unsafe: What becomes of a file that may run code when it is loaded. Code in the file itself (Lambda, names of
            foreign modules in files of Keras 2, whatever `safe_mode` refuses) loads with `ALLOW` only. HDF5 files,
            `modules`, and graphs that read or write files are refused by `REFUSE`, noted by `WARN`, and served without
            a word by `ALLOW`. Graphs that call Python are always refused.
        digests: The only digests ("sha256:...") that may be loaded; empty for any.
        max_bytes: The largest file or directory that is loaded, in bytes; None for any.
        tolerance: How far its answers may be from the golden ones beside it, relative to the largest of a tensor.
        xla: Whether XLA may compile its graph (TensorFlow), where that turns out faster.
    """

    name: str
    path: Path
    versions: int | str | tuple[int, ...] = 1
    default_version: int | str | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    max_batch_size: int | None = None
    batch_sizes: tuple[int, ...] = ()
    max_batch_elements: int | None = None
    batch_timeout_ms: float | None = None
    max_queue_rows: int | None = None
    weight: float = 1.0
    priority: int = 0
    lengths: tuple[int, ...] = ()
    unseen_lengths: str = SERVE
    pad_value: float = 0.0
    cache_bytes: int = 0
    signature: str | None = None
    tags: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    unsafe: str = WARN
    digests: tuple[str, ...] = ()
    max_bytes: int | None = None
    tolerance: float = 1e-4
    xla: bool = False

    def explained(self) -> dict[str, Any]:
        """Return what is set, as `status` shows it: the path, and whatever differs from what it is unset."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        unset = ModelSettings(name="", path=self.path)
        return {name: value for name, value in values.items() if name == "path" or value != getattr(unset, name)}

    @property
    def most_rows(self) -> int | None:
        """Most rows in one run; None for the server's."""
        return self.batch_sizes[-1] if self.batch_sizes else self.max_batch_size

    @property
    def named_versions(self) -> frozenset[int]:
        """The versions that a label or `default_version` names."""
        named = frozenset(self.labels.values())
        return named | {self.default_version} if isinstance(self.default_version, int) else named
