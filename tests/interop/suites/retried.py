"""Tests that are run again by pytest-rerunfailures. Copied to `test_retried.py` before it is run."""

# ruff: noqa: T201 - captured output is part of a report

from __future__ import annotations

import pytest

TRIES = {"recovers": 0, "fixture": 0}


def test_passes():
    pass


@pytest.mark.flaky(reruns=2)
def test_recovers():
    TRIES["recovers"] += 1
    print("try", TRIES["recovers"])
    assert TRIES["recovers"] == 2


@pytest.mark.flaky(reruns=2)
def test_never_recovers():
    raise AssertionError("every time")


@pytest.fixture
def flaky_fixture():
    TRIES["fixture"] += 1
    if TRIES["fixture"] < 3:
        raise RuntimeError("not yet")


@pytest.mark.flaky(reruns=2)
def test_recovers_from_a_broken_setup(flaky_fixture):
    pass
