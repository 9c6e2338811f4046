"""PyTorch's start: threads, determinism, and what came of them.

Owns the calls that must come before PyTorch's first parallel operation. Loader thread, once.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd_server.processors import usable_processors

if TYPE_CHECKING:
    from predictd_server.settings import Settings

#: What cuBLAS needs to give the same bits twice; PyTorch refuses the deterministic mode without it.
_CUBLAS, _CUBLAS_DETERMINISTIC = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
#: OpenMP's threads wait by spinning, GNU's and Intel's. Beside other busy processes, where a daemon lives, that
#: made runs of 2 ms take 14 to 30; without it nothing got slower.
_NO_SPINNING = {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


def start(settings: Settings) -> dict[str, Any]:
    """Start PyTorch, and return what `status` shows of it.

    Raises:
        ImportError: It can't be imported.
    """
    if settings.deterministic:
        os.environ.setdefault(_CUBLAS, _CUBLAS_DETERMINISTIC)
    for name, value in _NO_SPINNING.items():
        os.environ.setdefault(name, value)
    import torch  # pyright: ignore[reportMissingImports]  (an extra of its own)

    torch.set_num_threads(settings.intra_op_threads or usable_processors())
    if settings.inter_op_threads:
        torch.set_num_interop_threads(settings.inter_op_threads)
    torch.use_deterministic_algorithms(settings.deterministic)
    _say_it_once(torch)
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return {
        "torch": torch.__version__,
        "devices": ["cpu", *cuda],
        "usable_cpus": usable_processors(),
        "intra_op_threads": torch.get_num_threads(),
        "inter_op_threads": torch.get_num_interop_threads(),
        "deterministic": settings.deterministic,
    }


def _say_it_once(torch: Any) -> None:
    """Let PyTorch give its one warning of read-only memory: a request's bytes are that, and no model writes to them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.from_numpy(np.frombuffer(bytes(4), np.float32))
