"""What a graph does besides computing: files that it reads or writes, Python that it calls back into.

Owns the lists of such operations. It asks before anything of the graph runs. Loader thread.
"""

from __future__ import annotations

from typing import Any

from predictd_proto.errors import ModelLoadError
from predictd_server.models.code_policy import CodePolicy

_PYTHON_CALLS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_FILE_OPERATIONS = {
    "DeleteFile",
    "FixedLengthRecordDatasetV2",
    "MatchingFiles",
    "MergeV2Checkpoints",
    "ReadFile",
    "RestoreV2",
    "Save",
    "SaveV2",
    "TFRecordDataset",
    "TFRecordDatasetV2",
    "TFRecordReaderV2",
    "TextLineDataset",
    "TextLineReaderV2",
    "WholeFileReaderV2",
    "WriteFile",
}


def meet_graph(name: str, graph_def: Any, code: CodePolicy) -> None:
    """Refuse or note what a signature's graph does besides computing.

    Args:
        name: The signature.
        graph_def: Its graph, as far as it needs it.
        code: What becomes of it.

    Raises:
        ModelLoadError: It is refused.
    """
    operations = {node.op for node in graph_def.node}
    for function in graph_def.library.function:
        operations.update(node.op for node in function.node_def)
    if operations & _PYTHON_CALLS:
        text = (
            f"signature {name!r} calls a Python function (tf.py_function or tf.numpy_function), which stayed in the "
            "process that saved it; use TensorFlow operations instead"
        )
        raise ModelLoadError(text)
    on_files = sorted(operations & _FILE_OPERATIONS)
    if on_files:
        code.meet(
            f"signature {name!r} reads or writes files ({', '.join(on_files)})",
            "give it the contents as a tensor instead",
        )
