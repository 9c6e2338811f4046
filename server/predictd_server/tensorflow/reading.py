"""Reading: from a model's file, of whatever format, to what TensorFlow makes of it.

Owns the choice of the reader by the format, and the import of a user's own modules before it. Loader thread.
"""

from __future__ import annotations

from predictd_server.keras_files.custom_objects import import_modules
from predictd_server.models.code_policy import CodePolicy
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.settings import ModelSettings
from predictd_server.tensorflow.frozen_graph import read_frozen_graph
from predictd_server.tensorflow.saved_model import read_saved_model
from predictd_server.tensorflow.source_model import SourceModel

_WITHOUT_MODULES = "serve what model.export('directory') writes: it needs no Python code"


def read_model(file: ModelFile, settings: ModelSettings, code: CodePolicy) -> SourceModel:
    """Read a model and trace its signatures.

    Args:
        file: The model.
        settings: Its tags, its signature, its modules.
        code: What becomes of code that comes with it.

    Raises:
        ModelLoadError: It can't be served, or carries code that is refused.
    """
    if settings.modules:
        code.meet(f"its setting `modules` runs {', '.join(settings.modules)}", _WITHOUT_MODULES)
    # For every format: a module may register operations too.
    custom_objects = import_modules(settings.modules)
    if file.format is ModelFormat.SAVED_MODEL:
        return read_saved_model(file.path, settings.tags, settings.signature, code)
    if file.format is ModelFormat.FROZEN_GRAPH:
        return read_frozen_graph(file.path, settings, code)
    # Keras takes a second to import, which the others don't need.
    from predictd_server.tensorflow.keras_model import read_keras

    is_hdf5 = file.format is ModelFormat.HDF5
    return read_keras(file.path, custom_objects=custom_objects, modules=settings.modules, code=code, is_hdf5=is_hdf5)
