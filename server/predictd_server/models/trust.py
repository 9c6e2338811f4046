"""Trust: what is asked of a model's files before anything of them is read by TensorFlow.

Owns the bounds on size and memory and the list of digests; it looks at nothing but its arguments. What code a file may
carry is judged where files are taken apart. Loader thread.
"""

from __future__ import annotations

from predictd_proto.errors import ModelLoadError
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.settings import ModelSettings

#: How many times its size a model takes while it is loaded. Measured at the peak: .keras files 4.0 (large matrices) to
#: 6.9 (ResNet50), SavedModels that Keras exported, which hold the weights twice, 1.0 to 4.2. Half of it stays, or less.
LOAD_TIMES = {
    ModelFormat.KERAS: 4,
    ModelFormat.HDF5: 4,
    ModelFormat.SAVED_MODEL: 2,
    ModelFormat.FROZEN_GRAPH: 4,
}


def check_size(file: ModelFile, settings: ModelSettings, size_bytes: int) -> None:
    """Refuse a model that is larger than `max_bytes`; cheap, so that it can come before the digest.

    Args:
        file: What is to be loaded.
        settings: Its model's.
        size_bytes: What all its files hold.

    Raises:
        ModelLoadError: It is refused.
    """
    if settings.max_bytes is not None and size_bytes > settings.max_bytes:
        text = (
            f"{file.path}: has {size_bytes} bytes, and model {file.name!r} may have max_bytes = {settings.max_bytes}; "
            "raise that if the file is the right one"
        )
        raise ModelLoadError(text)


def check_digest(file: ModelFile, settings: ModelSettings, digest: str) -> None:
    """Refuse a model that is none of those that `digests` lists.

    Args:
        file: What is to be loaded.
        settings: Its model's.
        digest: Its digest, made of the files as they are now.

    Raises:
        ModelLoadError: It is refused.
    """
    if settings.digests and digest not in settings.digests:
        expected = settings.digests[0] if len(settings.digests) == 1 else "one of " + ", ".join(settings.digests)
        text = (
            f"{file.path}: is not a file that model {file.name!r} may be loaded from: expected digest {expected}, "
            f"got {digest}; if the file is the right one, add that to the model's `digests`, otherwise put the right "
            "one in its place"
        )
        raise ModelLoadError(text)


def check_memory(file: ModelFile, *, size_bytes: int, used_bytes: int, limit_bytes: int) -> None:
    """Refuse a model that would not fit while it is loaded.

    Args:
        file: What is to be loaded.
        size_bytes: What all its files hold.
        used_bytes: What is taken already.
        limit_bytes: The server's `memory_limit_bytes`; 0 for none.

    Raises:
        ModelLoadError: It is refused; `detail` holds `needs_bytes`.
    """
    if not limit_bytes:
        return
    times, left = LOAD_TIMES[file.format], max(limit_bytes - used_bytes, 0)
    needs = size_bytes * times
    if needs > left:
        text = (
            f"{file.path}: does not fit: loading it takes about {needs} bytes, {times} times the {size_bytes} of its "
            "files: until the load ends its weights are there as they were read, as variables and in the graph that is "
            f"made of them (an estimate, by the peaks of models that were measured). {left} of memory_limit_bytes = "
            f"{limit_bytes} are left: the process has {used_bytes} in memory now, libraries and all. Unload a version "
            "that nobody needs (`predictd unload`), keep fewer of them (`versions`), or raise the limit"
        )
        raise ModelLoadError(text, {"needs_bytes": needs, "left_bytes": left})
