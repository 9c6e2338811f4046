"""Running a SavedModel's signature through TensorFlow 1's own loader and session.

Owns the way for graphs whose resources can't be taken out of them: the loader makes them anew in its session. Loader
thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from predictd_proto.metadata import SignatureSpec
from predictd_server.tensorflow.session_runner import SessionRunner, session_config

KIND = "session-v1"


@dataclass(frozen=True, slots=True)
class SavedGraph:
    """One of the graphs in a SavedModel.

    Attributes:
        directory: The SavedModel.
        tags: What tells it from the others.
    """

    directory: Path
    tags: tuple[str, ...]


def open_session(saved: SavedGraph) -> tuple[Any, Any]:
    """Return a session with the graph and its variables in it, and the graph's definition."""
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=session_config())
    with graph.as_default():
        return session, tf.compat.v1.saved_model.loader.load(session, list(saved.tags), str(saved.directory))


def load_session(saved: SavedGraph, spec: SignatureSpec) -> SessionRunner:
    """Return a runner of a SavedModel's signature.

    Args:
        saved: The graph.
        spec: The signature, as it was read by the current loader.
    """
    session, loaded = open_session(saved)
    definition = loaded.signature_def[spec.name]
    return SessionRunner(
        KIND,
        session,
        [definition.inputs[tensor.name].name for tensor in spec.inputs],
        [definition.outputs[tensor.name].name for tensor in spec.outputs],
    )
