"""What is printed and drawn."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from predictd_server.tuning.comparison import Gain
from predictd_server.tuning.found import Found, Outcome
from predictd_server.tuning.plot import svg_plot, terminal_plot
from predictd_server.tuning.report import comments, outcome_table, table_of_sizes
from predictd_server.tuning.variant import Variant

DURATIONS = {1: 0.001, 2: 0.0012, 64: 0.02}
GAIN = Gain(1.234, 1.1, 1.3)
FOUND = Found(
    (
        Outcome(Variant(), "session", 3200.4, 0.00012),
        Outcome(Variant(model={"xla": True}), "session-xla", 4000.0, 0.012, GAIN, GAIN, is_kept=True),
        Outcome(Variant(server={"onednn": "off"}), failure="no memory"),
    ),
    Variant(model={"xla": True}),
    DURATIONS,
)


def test_the_table() -> None:
    assert outcome_table(FOUND).splitlines() == [
        "setting         runs as      rows/s  p50 of 1 row  throughput            latency",
        "as it is set    session      3,200   120 us        -                     -",
        "xla = true      session-xla  4,000   12.00 ms      1.23x (1.10 to 1.30)  1.23x (1.10 to 1.30)  kept",
        'onednn = "off"  -            -       -             -                     -                     can\'t be used',
        'onednn = "off": no memory',
    ]


def test_a_comment_tells_gain_date_and_machine() -> None:
    assert comments(FOUND, "2026-01-02, 2 CPUs, x86_64") == {
        "xla": "predictd tune: throughput 1.23x (1.10 to 1.30), latency 1.23x (1.10 to 1.30); "
        "2026-01-02, 2 CPUs, x86_64"
    }


def test_bars() -> None:
    assert terminal_plot(DURATIONS, 64).splitlines() == [
        "  rows     rows/s   ms/batch",
        "     1      1,000       1.00  ###########",
        "     2      1,667       1.20  ###################",
        "    64      3,200      20.00  ####################################  <",
    ]


def test_values_for_other_programs() -> None:
    assert table_of_sizes([(2, 0.001)]) == "rows,rows_per_second,batch_ms\n2,2000.0,1.0000\n"


@given(st.dictionaries(st.integers(1, 1024), st.floats(1e-6, 100.0), min_size=1, max_size=12), st.booleans())
def test_any_curve_can_be_drawn(durations_s: dict[int, float], is_marked: bool) -> None:
    chosen = max(durations_s) if is_marked else None
    drawn = ElementTree.fromstring(svg_plot("<m> & co", durations_s, chosen))
    names = [element.tag.rpartition("}")[2] for element in drawn.iter()]
    assert names.count("polyline") == 2
    assert names.count("circle") == 2 * len(durations_s)
    texts = [element.text for element in drawn.iter() if element.tag.endswith("text")]
    assert texts[0] == "<m> & co"
    assert all(f"{rows}" in texts for rows in durations_s)
    for element in drawn.iter():
        assert all(0 <= float(element.attrib.get(name, 0)) <= 720 for name in ("x", "y", "cx", "cy"))
    assert len(terminal_plot(durations_s, chosen).splitlines()) == len(durations_s) + 1
