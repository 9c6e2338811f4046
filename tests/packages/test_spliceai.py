"""SpliceAI (Illumina): five HDF5 files of Keras 2 in its wheel that find splice sites in DNA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow]

pytest.importorskip("spliceai")

GENE = (
    "#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\nTEST\t1\t+\t1000\t29000\t1000,15000,\t2000,16000,\n"
)


@pytest.mark.filterwarnings("ignore")
def test_the_package_scores_variants_alike_with_served_models(start_daemon: Callable, tmp_path: Path) -> None:
    import spliceai
    from spliceai.utils import Annotator, get_delta_scores

    import predictd

    dna = "".join(np.random.default_rng(7).choice(list("ACGT"), 30000))
    (tmp_path / "genome.fa").write_text(">1\n" + dna + "\n")
    (tmp_path / "genes.txt").write_text(GENE)
    annotator = Annotator(str(tmp_path / "genome.fa"), str(tmp_path / "genes.txt"))
    variants: list[Any] = [
        SimpleNamespace(chrom="1", pos=pos, ref=dna[pos - 1], alts=["G" if dna[pos - 1] != "G" else "T"])
        for pos in (14990, 15001, 16002)
    ]
    local = [get_delta_scores(variant, annotator, 50, 0) for variant in variants]

    daemon = start_daemon(str(Path(spliceai.__file__).parent / "models"))
    rows = np.eye(4, dtype="float32")[np.random.default_rng(1).integers(0, 4, (1, 10101))]
    expected = [model.predict(rows, verbose=0) for model in annotator.models]
    names = [f"spliceai{number}" for number in range(1, 6)]
    annotator.models = [predictd.RemoteModel(name, endpoint=daemon.endpoint) for name in names]
    for model, each in zip(annotator.models, expected, strict=True):
        np.testing.assert_allclose(model.predict(rows, verbose=0), each, atol=1e-4)
    assert [get_delta_scores(variant, annotator, 50, 0) for variant in variants] == local
    assert all(local)
