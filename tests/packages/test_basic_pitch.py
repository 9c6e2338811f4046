"""basic-pitch (Spotify): a SavedModel in its wheel that hears notes; the package with its model served instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow]

pytest.importorskip("basic_pitch")


@pytest.mark.filterwarnings("ignore")
def test_the_package_hears_the_same_notes_from_the_served_model(start_daemon: Callable, tmp_path: Path) -> None:
    import soundfile
    from basic_pitch import FilenameSuffix, build_icassp_2022_model_path
    from basic_pitch.inference import Model, predict

    import predictd

    path = build_icassp_2022_model_path(FilenameSuffix.tf)
    seconds = np.arange(3 * 22050) / 22050
    tune = sum(np.sin(2 * np.pi * pitch * seconds) * (seconds > index) for index, pitch in enumerate((220, 330, 440)))
    soundfile.write(tmp_path / "tune.wav", 0.2 * tune, 22050)

    local = Model(path)
    daemon = start_daemon(f"nmp={path}")

    class Served(Model):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.model = predictd.RemoteModel("nmp", endpoint=daemon.endpoint)

        def predict(self, x: Any) -> Any:
            return self.model.predict(x, verbose=0)

    output, _, notes = predict(tmp_path / "tune.wav", local)
    served_output, _, served_notes = predict(tmp_path / "tune.wav", Served())
    assert notes
    assert [note[:3] for note in served_notes] == [note[:3] for note in notes]
    assert served_output.keys() == output.keys() == {"note", "onset", "contour"}
    for name in output:
        np.testing.assert_allclose(served_output[name], output[name], atol=1e-4)
