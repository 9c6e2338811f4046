"""TensorFlow's runtime: the settings that must be made before it starts, and what came of them.

Owns the first import of TensorFlow in the process. Threads, memory growth and determinism can't be changed afterwards.
Loader thread, once.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from predictd_proto.errors import ConfigError
from predictd_server.processors import usable_processors
from predictd_server.tensorflow.stderr_filter import filtered_stderr

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
#: oneDNN's own pool grows by doubling and gives nothing back: after a model of 101 MB was loaded it held 278 MB, and
#: after it was unloaded too. From the system the same model takes 103 MB, gives back all of them, and is as fast.
_SYSTEM_ALLOCATOR = "TF_ONEDNN_USE_SYSTEM_ALLOCATOR"
_BACKEND = "KERAS_BACKEND"
#: C++ messages below errors are hidden unless the environment asks for them.
_ERRORS_ONLY = "2"


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """What TensorFlow is started with.

    Attributes:
        intra_op_threads: Threads within one operation; 0 means one per usable CPU.
        inter_op_threads: Threads across operations; 0 lets TensorFlow choose. Most models run on their caller's
            thread and use none of them.
        memory_growth: Take GPU memory as needed instead of all at once.
        deterministic: The same inputs give the same bits; slower on a GPU.
        onednn: Use oneDNN's CPU kernels; None leaves that to TensorFlow and its own environment variable.
    """

    intra_op_threads: int = 0
    inter_op_threads: int = 0
    memory_growth: bool = True
    deterministic: bool = False
    onednn: bool | None = None


# One runtime per process, whatever this module's users do.
_started: list[RuntimeSettings] = []


def configure(settings: RuntimeSettings) -> None:
    """Start TensorFlow with these settings; a second call with the same ones does nothing.

    Raises:
        ConfigError: It has been started already, with other settings or by other code, or isn't installed.
    """
    if _started:
        if _started[0] != settings:
            text = f"TensorFlow was started with {asdict(_started[0])} and can't change to {asdict(settings)}; restart"
            raise ConfigError(text)
        return
    _prepare_environment(settings)
    is_debugging = os.environ[_LOG_LEVEL] == "0"
    with nullcontext() if is_debugging or "tensorflow" in sys.modules else filtered_stderr():
        tf = _imported()
    if not is_debugging:
        tf.get_logger().setLevel(logging.ERROR)
        logging.getLogger("absl").setLevel(logging.ERROR)
    _apply(tf, settings)
    _started.append(settings)


def describe() -> dict[str, Any]:
    """Return the settings in effect and the devices found, as `status` shows them. Starts TensorFlow's devices."""
    import tensorflow as tf

    settings = _started[0] if _started else RuntimeSettings()
    threading = tf.config.threading
    return {
        "tensorflow": tf.__version__,
        "keras": _installed_version("keras"),
        "devices": [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices()],
        "usable_cpus": usable_processors(),
        "intra_op_threads": threading.get_intra_op_parallelism_threads() or usable_processors(),
        "inter_op_threads": threading.get_inter_op_parallelism_threads() or usable_processors(),
        "memory_growth": settings.memory_growth,
        "deterministic": settings.deterministic,
        "onednn": _is_onednn_on(),
    }


def _imported() -> Any:
    try:
        import tensorflow as tf
    except ImportError as error:
        text = f"TensorFlow can't be imported: {error}; install it with: pip install 'predictd[server]'"
        raise ConfigError(text) from error
    return tf


def _prepare_environment(settings: RuntimeSettings) -> None:
    os.environ.setdefault(_LOG_LEVEL, _ERRORS_ONLY)
    os.environ.setdefault(_SYSTEM_ALLOCATOR, "1")
    # Another backend's model can't be traced; whatever the user's own keras.json says is for their processes.
    os.environ[_BACKEND] = "tensorflow"
    if settings.onednn is None:
        return
    wanted = "1" if settings.onednn else "0"
    if "tensorflow" in sys.modules and os.environ.get(_ONEDNN, "1") != wanted:
        text = f"onednn = {settings.onednn} comes too late: TensorFlow is imported already; set {_ONEDNN}={wanted}"
        raise ConfigError(text)
    os.environ[_ONEDNN] = wanted


def _apply(tf: Any, settings: RuntimeSettings) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(settings.intra_op_threads or usable_processors())
        tf.config.threading.set_inter_op_parallelism_threads(settings.inter_op_threads)
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, settings.memory_growth)
    except RuntimeError as error:
        text = "TensorFlow was started before predictd set its threads and memory; configure the runtime first"
        raise ConfigError(text) from error
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
        # Random operations without a seed are refused in this mode.
        tf.random.set_seed(0)


def _is_onednn_on() -> bool | None:
    if os.environ.get(_ONEDNN) == "0":
        return False
    try:
        from tensorflow.python.util import _pywrap_util_port
    except ImportError:
        return None
    return bool(_pywrap_util_port.IsMklEnabled())


def _installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
