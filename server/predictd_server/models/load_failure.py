"""Failed loads: from what Keras and TensorFlow raise to one or two lines that say what to do.

Owns the texts. It knows the libraries by what they say, and imports neither. Any thread.
"""

from __future__ import annotations

import re
from pathlib import Path

from predictd_proto.errors import ModelLoadError, PredictdError

_MAX_REASON = 300
#: Names of graph nodes, and what makes a terminal's text bold.
_MARKUP = re.compile(r"\{\{[^}]*\}\} ?|\x1b\[\d*m")
#: Keras puts this between a complaint about a whole layer and its cause.
_WRAPPED = "Exception encountered: "
_CALLING = "Exception encountered when calling "
_HEADLINES = {"<stack traces unavailable>", "Graph execution error:"}
_MODULES = "name the module that defines it in the setting `modules`"
_EXPORT = "serve what model.export('directory') writes instead: it needs no Python code"

# What the text of an error must contain, and what that means. The first match counts.
_MEANINGS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("Could not locate class",),
        f"it uses a class that isn't Keras' own, found nowhere: {_MODULES}, or {_EXPORT}",
    ),
    (
        ("Could not locate function",),
        f"it uses a function that isn't Keras' own, found nowhere: {_MODULES}, or {_EXPORT}",
    ),
    (
        ("Unknown layer",),
        f"it uses a layer that isn't Keras' own, found nowhere: {_MODULES}, or {_EXPORT}",
    ),
    (
        ("Lambda",),
        "it holds a Lambda layer, which is Python code that loading would run, and is refused; "
        f"build the model without Lambda, or {_EXPORT}",
    ),
    (
        ("safe_mode",),
        f"it holds something that loading would run as code, which is refused; {_EXPORT}",
    ),
    (
        ("No model config found",),
        "it holds weights without a model; expected what model.save() writes",
    ),
    (
        ("truncated file",),
        "it is cut short; save the model again or repeat the copy",
    ),
    (
        ("Bad CRC", "file signature not found", "JSONDecodeError", "Cannot parse file", "Failed to find any matching"),
        "it is damaged or incomplete; save the model again or repeat the copy",
    ),
    (
        ("associated with tags",),
        "it has no graph for serving (tag 'serve'); save it again with model.export(directory)",
    ),
    (
        ("PyFunc", "pyfunc_"),
        "it calls a Python function (tf.py_function or tf.numpy_function), which stayed in the process that saved it; "
        "use TensorFlow operations instead",
    ),
    (
        ("not registered",),
        "it uses an operation that this TensorFlow doesn't have; it may need an extra package or another version",
    ),
    (
        ("Error when deserializing class", "could not be deserialized properly", "Unrecognized keyword"),
        f"this Keras can't read it; it may be from another version of Keras: save it again with this one, or {_EXPORT}",
    ),
)
_OUT_OF_MEMORY = ("ResourceExhausted", "OOM when allocating", "std::bad_alloc", "Cannot allocate memory")


def load_failure(path: Path, error: Exception) -> ModelLoadError:
    """Return what a failed load means, with the path in front.

    Args:
        path: The model's file or directory.
        error: What was raised.
    """
    return ModelLoadError(f"{path}: {_meaning(error)}")


def reason_of(error: Exception) -> str:
    """Return an error as one short line: its type and the first sentence of its text."""
    if isinstance(error, PredictdError):
        return error.message
    lines = [line.strip() for line in _MARKUP.sub("", str(error)).rpartition(_WRAPPED)[2].splitlines()]
    lines = [line for line in lines if line and line not in _HEADLINES and not line.startswith(_CALLING)]
    # Keras and TensorFlow often begin with a headline that says nothing.
    headline = next((line for line in lines if not line.endswith(":")), lines[0] if lines else "no reason given")
    # Their further sentences are about their own arguments, such as how to turn safety off.
    return f"{type(error).__name__}: {headline.split('. ')[0]}"[:_MAX_REASON]


def _meaning(error: Exception) -> str:
    if isinstance(error, PredictdError):
        return error.message
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(sign in said for sign in _OUT_OF_MEMORY):
        return f"not enough memory to load it: {reason_of(error)}; serve fewer models here, or give it more memory"
    for signs, meaning in _MEANINGS:
        for sign in signs:
            if sign in said:
                return f"{meaning} ({_sentence_with(sign, said)})"
    return f"can't be loaded: {reason_of(error)}"


def _sentence_with(sign: str, said: str) -> str:
    """Return the sentence that gave a cause away: Keras wraps it in those of every layer around it."""
    sentences = (sentence.strip() for line in said.splitlines() for sentence in line.split(". "))
    return next(sentence for sentence in sentences if sign in sentence)[:_MAX_REASON]
