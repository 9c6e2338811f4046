"""Every format, with every kind of model: a real file made by the API that users call, served, equal to the original.

docs/models.md says what is observed here: the table is compared cell by cell.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import format_table
from tests.models.format_table import FORMATS, KINDS, Format
from tests.models.keras_zoo import ZOO

pytestmark = pytest.mark.tensorflow

#: Most of the first column is observed by test_answers.py, which loads those models anyway.
CASES = [(column, kind) for column in FORMATS for kind in column.kinds if column is not FORMATS[0] or kind not in ZOO]


@pytest.mark.parametrize(
    ("column", "kind"), CASES, ids=lambda value: value.title if isinstance(value, Format) else value
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_served_is_what_the_page_says(column: Format, kind: str, tmp_path: Path) -> None:
    assert format_table.observe(column, kind, tmp_path) == format_table.on_page()[kind, column.title]


def test_the_page_says_nothing_that_is_not_observed() -> None:
    observed = {(kind, column.title) for column in FORMATS for kind in column.kinds}
    assert set(format_table.on_page()) == observed


def test_every_kind_is_tried_with_a_format() -> None:
    assert {kind for column in FORMATS for kind in column.kinds} == set(KINDS)
