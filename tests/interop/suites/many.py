"""Ten thousand tests. Copied to `test_many.py` before it is run."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("number", range(10_000))
def test_number(number):
    if number % 100 == 99:
        pytest.skip("every hundredth")
    assert number % 1000 != 0
