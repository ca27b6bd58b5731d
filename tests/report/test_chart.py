"""Charts as SVG, and how curves are reduced to them."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from tinybert.report.chart import BOTTOM, HEIGHT, TOP, Frame, Line, Mark, chart
from tinybert.report.curves import BUCKETS, Curve, points, spans


def test_a_reduced_curve_keeps_every_extreme_and_every_mean() -> None:
    values = np.random.default_rng(1).normal(0, 1, 10_007)
    curve = Curve(range(5, 10_012), values.tolist())
    found = points(curve)
    assert 0.9 * BUCKETS < len(found) <= BUCKETS
    assert max(p.high for p in found if p) == values.max()
    assert min(p.low for p in found if p) == values.min()
    spread = list(spans(curve.steps, BUCKETS))
    assert [spread[0][0], spread[-1][1]] == [0, 10_007]
    assert all(end == start for (_, end), (start, _) in pairwise(spread))
    for (start, end), point in zip(spread, found, strict=True):
        assert point is not None
        assert (point.low, point.high) == (values[start:end].min(), values[start:end].max())
        assert point.mean == pytest.approx(values[start:end].mean(), abs=1e-12)


def test_a_short_curve_keeps_every_step_and_breaks_where_it_is_lost() -> None:
    found = points(Curve([3, 4, 6], [1.0, math.nan, 2.0]))
    assert [point and (point.step, point.mean) for point in found] == [(3, 1.0), None, (6, 2.0)]


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 0.0],
        [1.0, 1.0],
        [-5.0, 5.0],
        [1e-30, 1e30],
        [5e-324, 1.0],
        [math.nan, math.inf],
        [1.7e308, -1.7e308],
        [7.0],
    ],
    ids=str,
)
def test_any_values_can_be_drawn_inside_the_chart(values: list[float]) -> None:
    line = Line("a", Curve(range(len(values)), values))
    svg = ET.fromstring(chart("c", "x", [line], Frame((0, len(values) - 1))))
    for path in svg.iter("path"):
        if path.get("class") == "line a":
            heights = [float(pair.split()[1]) for pair in (path.get("d") or "")[1:].split("L")]
            assert all(TOP <= height <= HEIGHT - BOTTOM for height in heights)
    ticks = [text.text for text in svg.iter("text") if text.get("class") == "tick"]
    assert 1 <= len(ticks) <= 8


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1.0, 99.0], "Linear"), ([1.0, 100.0], "Logarithmic"), ([0.0, 1e6], "Linear")],
)
def test_a_quantity_above_zero_that_spans_decades_is_logarithmic(
    values: list[float], scale: str
) -> None:
    svg = ET.fromstring(chart("c", "x", [Line("a", Curve([0, 1], values))], Frame((0, 1))))
    assert svg[1].text and svg[1].text.endswith(f"{scale} scale.")


def test_marks_stay_inside_and_are_text() -> None:
    line = Line("a", Curve([0, 1], [1.0, 2.0]))
    marks = [Mark(0, "a & b"), Mark(1, "end"), Mark(9, "beyond")]
    svg = ET.fromstring(chart("c", "<x>", [line], Frame((0, 1), marks)))
    texts = {text.text: text.get("class") for text in svg.iter("text")}
    assert (texts["a & b"], texts["end"]) == ("after", "before")
    assert "beyond" not in texts
    assert svg[0].text == "<x>"
