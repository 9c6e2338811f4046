"""The guard over TensorFlow: a process of a worker that imports it is told on, or kept from it.

What predictd takes out of the workers comes back with one import: threads and graphs that a fork cannot copy, and some
300 MB in each child. The guard finds who did it.

Owns a finder on `sys.meta_path`, which lies still until its process is a worker's, and the receivers that wake it. It
imports nothing of TensorFlow. Runs wherever an import does.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import Any

from celery.signals import celeryd_after_setup, celeryd_init, worker_process_init

from predictd_celery.config import TENSORFLOW_GUARD, tensorflow_guard_mode
from predictd_proto.errors import ConfigError

TENSORFLOW = "tensorflow"
#: They import TensorFlow for somebody else, who is the one to be named.
_GO_BETWEENS = frozenset(("keras", "tf_keras", "tensorflow_hub", "tensorflow"))

logger = logging.getLogger(__name__)


class TensorFlowGuard:
    """A finder that passes every import on, and notes the one of TensorFlow.

    Attributes:
        importer: Who has imported TensorFlow in this process, in words; None for nobody.
    """

    def __init__(self) -> None:
        self.importer: str | None = None
        self._mode = "off"

    def install(self) -> None:
        """Begin to listen; more than once does no harm."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
            celeryd_init.connect(self._refuse_in_parent)
            celeryd_after_setup.connect(self._warn_in_parent)
            worker_process_init.connect(self._wake)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return TensorFlow's spec with a loader that tells; of anything else nothing."""
        if name != TENSORFLOW:
            return None
        for finder in sys.meta_path:
            # As the import system has it: an old finder may know no `find_spec`, and is passed over.
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            found: ModuleSpec | None = None if find_spec is None else find_spec(name, path, target)
            if found is not None:
                # To be looked for is not to be imported: `importlib.util.find_spec` is how libraries ask what there is.
                found.loader = found.loader and _TellingLoader(found.loader, self)  # type: ignore[assignment]
                return found
        return None

    def imported(self, importer: str) -> None:
        """Take note of an import that begins.

        Raises:
            ImportError: It is refused.
        """
        if self._mode == "refuse":
            message = f"{_told(importer)} {TENSORFLOW_GUARD}=refuse forbids it."
            raise ImportError(message, name=TENSORFLOW)
        self.importer = importer
        if self._mode == "warn":
            self._warn()

    def _refuse_in_parent(self, **_: Any) -> None:
        """End a worker that begins with TensorFlow, before it forks; from here on imports are refused."""
        # Celery logs what a receiver raises and goes on; SystemExit goes through.
        try:
            mode = tensorflow_guard_mode()
        except ConfigError as error:
            raise SystemExit(str(error)) from error
        if mode == "refuse":
            self._mode = mode
            if self._is_here():
                text = f"{_told(self.importer)} {TENSORFLOW_GUARD}=refuse forbids it."
                raise SystemExit(text)

    def _warn_in_parent(self, **_: Any) -> None:
        """Say that the parent has TensorFlow: only now there is a log to say it in."""
        self._wake()
        if self._mode == "warn" and self._is_here():
            self._warn()

    def _wake(self, **_: Any) -> None:
        """Wake up in a child too: one that was spawned has inherited nothing."""
        self._mode = tensorflow_guard_mode()

    def _is_here(self) -> bool:
        return TENSORFLOW in sys.modules

    def _warn(self) -> None:
        logger.warning(
            "%s %s=refuse forbids such imports, %s=off allows them.",
            _told(self.importer),
            TENSORFLOW_GUARD,
            TENSORFLOW_GUARD,
        )


class _TellingLoader:
    """TensorFlow's loader, but for a word before the import begins."""

    def __init__(self, loader: Any, guard: TensorFlowGuard) -> None:
        self._loader = loader
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._guard.imported(_importer(sys._getframe(1)))
        # From here on nobody sees that there was another one: resources and sources are asked of it.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)


#: The one of this process.
GUARD = TensorFlowGuard()


def _told(importer: str | None) -> str:
    who = importer or "a module that was imported before predictd_celery"
    return (
        f"TensorFlow was imported in a Celery worker (pid {os.getpid()}) by {who}. What it starts does not survive a "
        "fork, so predict hangs in the children, and each process with it takes some 300 MB. Ask predictd instead: "
        "predictd.RemoteModel in place of the loaded model."
    )


def _importer(frame: FrameType | None) -> str:
    """Return the module that an import stands in, in words: the first on the way up that is no go-between."""
    nearest = None
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        package = name.partition(".")[0]
        if package != "importlib" and not frame.f_code.co_filename.startswith("<frozen importlib"):
            place = f"{name} ({frame.f_code.co_filename}, line {frame.f_lineno})"
            if package not in _GO_BETWEENS:
                return place if nearest is None else f"{place}, by way of {nearest}"
            nearest = nearest or package
        frame = frame.f_back
    return nearest or "nobody knows whom"
