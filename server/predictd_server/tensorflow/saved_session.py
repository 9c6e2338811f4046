"""Running a SavedModel's signature through TensorFlow 1's own loader and session.

Owns the way for graphs whose resources can't be taken out of them: the loader makes them anew in its session. Loader
thread.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from predictd_proto.metadata import SignatureSpec
from predictd_server.tensorflow.session_runner import SessionRunner, session_config


def load_session(directory: Path, spec: SignatureSpec) -> SessionRunner:
    """Return a runner of a SavedModel's signature.

    Args:
        directory: The SavedModel.
        spec: The signature, as it was read by the current loader.
    """
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=session_config())
    with graph.as_default():
        loaded = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(directory))
    definition = loaded.signature_def[spec.name]
    return SessionRunner(
        "session-v1",
        session,
        [definition.inputs[tensor.name].name for tensor in spec.inputs],
        [definition.outputs[tensor.name].name for tensor in spec.outputs],
    )
