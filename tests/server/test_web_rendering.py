"""How figures are shown on the pages."""

import pytest

from jux_server.web.rendering import duration, percent


@pytest.mark.parametrize(
    ("microseconds", "shown"),
    [
        (None, ""),
        (0, "0 ms"),
        (1_000, "1.0 ms"),
        (9_940, "9.9 ms"),
        (9_960, "10 ms"),
        (150_000, "150 ms"),
        (999_400, "999 ms"),
        (999_600, "1.00 s"),
        (5_000_000, "5.00 s"),
        (9_996_000, "10.0 s"),
        (59_940_000, "59.9 s"),
        (59_960_000, "1 min 00 s"),
        (3_599_400_000, "59 min 59 s"),
        (3_600_000_000, "1 h 00 min"),
    ],
)
def test_durations_below_each_other_compare_at_sight(microseconds, shown):
    assert duration(microseconds) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, ""),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.5, "50.0 %"),
        (0.99999, "99.9 %"),
        (0.00001, "0.1 %"),
        (0.7777, "77.7 %"),
    ],
)
def test_only_what_is_all_is_a_hundred_percent(share, shown):
    assert percent(share) == shown
