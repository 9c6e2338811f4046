"""Loading on JAX or PyTorch: from a Keras file to a signature that can be run.

Owns the order read -> try -> judge. It starts no thread and publishes nothing. Loader thread.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import prod

import keras

from predictd_proto.dtypes import DTYPE_BYTES
from predictd_server.keras_backends.judgement import judge
from predictd_server.keras_backends.keras_file import check_format, check_inputs, read_model
from predictd_server.keras_backends.keras_runner import make_runner
from predictd_server.keras_files.model_tree import model_inputs
from predictd_server.models.code_policy import CodePolicy
from predictd_server.models.contents import digest_of
from predictd_server.models.files import ModelFile
from predictd_server.models.load_failure import load_failure
from predictd_server.models.reclaim import reclaim_memory
from predictd_server.models.settings import ModelSettings
from predictd_server.runner import LoadedModel

_log = logging.getLogger(__name__)


def load_model(file: ModelFile, settings: ModelSettings, ladder: Sequence[int], backend: str) -> LoadedModel:
    """Load a Keras file and find out how it may be run.

    Args:
        file: What to load.
        settings: How: custom modules, and what becomes of code.
        ladder: The batch sizes it will be run with, ascending.
        backend: "jax" or "torch".

    Raises:
        ModelLoadError: It can't be served; the text says why and what to do.
    """
    code = CodePolicy(settings.unsafe)
    try:
        check_format(file, backend)
        digest = digest_of(file.path)
        model = read_model(file, settings, code, backend)
        input_tree, inputs = model_inputs(model, keras.config.floatx())
        check_inputs(inputs, backend)
        runner = make_runner(backend, model, input_tree, inputs)
        judged = judge(file, runner, model, input_tree, inputs, ladder)
    except Exception as error:
        raise load_failure(file.path, error) from error
    spec = judged.signature.spec
    loaded = LoadedModel(
        signatures={spec.name: judged.signature},
        default_signature=spec.name,
        parameters=int(model.count_params()),
        digest=digest,
        source=str(file.path),
        weight_bytes=sum(prod(weight.shape) * DTYPE_BYTES[str(weight.dtype)] for weight in model.weights),
        notes=(*code.notes, *judged.notes),
    )
    for note in loaded.notes:
        _log.warning("model %s: %s", file.name, note)
    reclaim_memory()
    return loaded
