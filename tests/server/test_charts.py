"""The geometry of charts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jux_server.web.charts import HEIGHT, WIDTH, columns_of, lines_of, points_of

FIGURES = st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e12)), max_size=4), max_size=320)


@given(FIGURES)
def test_columns_stay_within_the_chart_and_stand_on_each_other(values):
    chart = columns_of(values, str)
    assert len(chart.columns) == len(values)
    for column, parts in zip(chart.columns, values, strict=True):
        assert -0.01 <= column.x <= column.x + column.width <= WIDTH + 0.01
        assert len(column.parts) == sum(value > 0 for _, value in parts)
        for _, top, height in column.parts:
            assert -0.6 <= top <= HEIGHT
            assert 0 < height <= HEIGHT + 0.1


@pytest.mark.parametrize(
    ("most", "labels"),
    [
        (0, ["0"]),
        (1, ["1", "0.5", "0"]),
        (60, ["100", "50", "0"]),
        (0.0003, ["0.0005", "0.00025", "0"]),
        (21, ["25", "12.5", "0"]),
        (999, ["1000", "500", "0"]),
    ],
)
def test_lines_across_stand_for_round_figures(most, labels):
    chart = columns_of([[("a", most)]], lambda value: f"{value:g}")
    assert [tick.label for tick in chart.ticks] == labels


def test_height_is_in_proportion():
    chart = columns_of([[("a", 5), ("b", 5)], [("a", 2.5)]], str)
    assert chart.columns[0].parts == [("a", HEIGHT / 2, HEIGHT / 2), ("b", 0, HEIGHT / 2)]
    assert chart.columns[1].parts == [("a", HEIGHT * 3 / 4, HEIGHT / 4)]


def test_line_is_broken_where_there_is_no_figure():
    chart = points_of([1.0, 0.5, None, 0.0], 0.0, 1.0, str)
    assert lines_of(chart.points) == ["112.5,0 337.5,80", "787.5,160"]


@pytest.mark.parametrize("values", [[], [None], [None, None]])
def test_no_figures_are_no_line(values):
    assert lines_of(points_of(values, 0, 1, str).points) == []


def test_figures_that_are_all_the_same_do_not_divide_by_nothing():
    assert points_of([1.0], 1.0, 1.0, str).points == [(WIDTH / 2, 0.0)]
