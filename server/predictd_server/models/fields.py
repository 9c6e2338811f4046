"""The fields of a model's settings: their types, bounds and help.

Owns the one table of them, as `settings.py` owns that of the server's settings. Frozen; any thread.
"""

from __future__ import annotations

import re

from predictd_server.models.settings import ALL_VERSIONS, ALLOW, PAD, REFUSE, REJECT, SERVE, WARN
from predictd_server.models.version_names import LARGEST_VERSION
from predictd_server.setting import Form, Setting

_MOST_ROWS = 1 << 24
_MOST_BYTES = 1 << 40
_LONGEST = 1 << 24
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
# All digits would be a version: a client that asks for "3" must not mean a label.
_LABEL = re.compile(r"(?![0-9]+$)[A-Za-z0-9._-]{1,64}")
LABEL_RULE = "a label: 1 to 64 of the characters A-Z a-z 0-9 . _ -, not digits alone"

#: A table's keys that have a form of their own.
KEY_PATTERNS = {"labels": (_LABEL, LABEL_RULE)}

MODEL_FIELDS: tuple[Setting, ...] = (
    Setting(
        "path",
        str,
        None,
        "A file, a SavedModel's directory, or a directory with a directory 1, 2, ... for each version",
        pattern=re.compile(r"[^\0]+"),
        rule="a path",
    ),
    Setting(
        "versions",
        int,
        1,
        "Which versions are served: the newest so many, all, or those listed",
        1,
        LARGEST_VERSION,
        rule="a whole number of at least 1",
        others=(
            Setting("versions", str, None, "", choices=(ALL_VERSIONS,)),
            Setting("versions", int, None, "", 1, LARGEST_VERSION, form=Form.LIST, rule="a version of at least 1"),
        ),
    ),
    Setting(
        "labels",
        int,
        {},
        "Names that clients may use instead of a version's number",
        1,
        LARGEST_VERSION,
        form=Form.TABLE,
        rule="a version of at least 1",
    ),
    Setting(
        "default_version",
        int,
        None,
        "The version or label that answers requests which name none (default: the newest that is ready)",
        1,
        LARGEST_VERSION,
        rule="a version of at least 1",
        others=(Setting("default_version", str, None, "", pattern=_LABEL, rule=LABEL_RULE),),
    ),
    Setting("max_batch_size", int, None, "Most rows in one run (default: the server's)", 1, 65536),
    Setting(
        "batch_sizes",
        int,
        (),
        "The only batch sizes that it runs with (default: those that pay)",
        1,
        65536,
        form=Form.LIST,
    ),
    Setting(
        "max_batch_elements",
        int,
        None,
        "Most elements of its largest input in one run of several rows, where rows have any length (default: any)",
        1,
        _MOST_BYTES,
    ),
    Setting("batch_timeout_ms", float, None, "Batch window in ms (default: the server's)", 0, 60_000),
    Setting("max_queue_rows", int, None, "Rows of it that may wait (default: the server's)", 1, _MOST_ROWS),
    Setting("weight", float, 1.0, "Its share of the engine against other models' while all want it", 0.001, 1000),
    Setting(
        "priority", int, 0, "Its requests go before those with a lower one (a caller's class adds its own)", -100, 100
    ),
    Setting(
        "lengths",
        int,
        (),
        "Lengths that its free axes, other than the rows', are warmed for",
        1,
        _LONGEST,
        form=Form.LIST,
    ),
    Setting(
        "unseen_lengths",
        str,
        SERVE,
        "What becomes of other lengths: padded to the next, served as they are, or refused",
        choices=(PAD, SERVE, REJECT),
    ),
    Setting("pad_value", float, 0.0, "What padding is filled with; texts are padded with empty ones"),
    Setting("cache_bytes", int, 0, "Answers kept for requests that come again, in bytes; 0 for none", 0, _MOST_BYTES),
    Setting("signature", str, None, "The signature for requests that name none (default: the file's)"),
    Setting("tags", str, (), "A SavedModel's tags (default: serve)", form=Form.LIST),
    Setting("inputs", str, {}, "A frozen graph's inputs: names for its tensors", form=Form.TABLE),
    Setting("outputs", str, {}, "A frozen graph's outputs, likewise", form=Form.TABLE),
    Setting(
        "modules",
        str,
        (),
        "Python modules to import before it is loaded, which register its custom objects",
        form=Form.LIST,
        pattern=_MODULE,
        rule="a module's name such as package.layers",
    ),
    Setting(
        "unsafe",
        str,
        WARN,
        "What becomes of a file that may run code while it is loaded",
        choices=(REFUSE, WARN, ALLOW),
    ),
    Setting(
        "digests",
        str,
        (),
        "The only digests that may be loaded (default: any)",
        form=Form.LIST,
        pattern=_DIGEST,
        rule="a digest: sha256: and 64 of the characters 0-9 a-f, as `predictd inspect` shows it",
    ),
    Setting(
        "max_bytes", int, None, "Largest file or directory that is loaded, in bytes (default: any)", 1, _MOST_BYTES
    ),
    Setting("tolerance", float, 1e-4, "How far its answers may be from the golden ones beside it, relatively", 0, 1),
    Setting("xla", bool, False, "Let XLA compile it, where that is faster; takes seconds at each load"),
)
FIELDS_BY_NAME: dict[str, Setting] = {field.name: field for field in MODEL_FIELDS}
