"""Every way in which a test can end. Copied to `test_outcomes.py` before it is run."""

from __future__ import annotations

import unittest

import pytest


def test_passes():
    pass


def test_fails():
    assert 1 + 1 == 3, "arithmetic"


def test_raises():
    raise ValueError("a message with <markup> & 'quotes' \"both\"\nand a second line")


def test_fails_without_a_message():
    raise AssertionError


def test_chained():
    try:
        {}["key"]
    except KeyError as error:
        raise RuntimeError("chained") from error


@pytest.fixture
def broken_setup():
    raise RuntimeError("setup failed")


@pytest.fixture
def broken_teardown():
    yield
    raise RuntimeError("teardown failed")


def test_error_in_setup(broken_setup):
    pass


def test_error_in_teardown(broken_teardown):
    pass


def test_failure_and_error_in_teardown(broken_teardown):
    raise AssertionError("and then the teardown fails as well")


def test_skips():
    pytest.skip("for <a reason> & more")


@pytest.mark.skip(reason="marked")
def test_marked_skip():
    pass


@pytest.mark.skipif("True", reason="conditional ]]>")
def test_skipif():
    pass


@pytest.mark.xfail(reason="known")
def test_xfails():
    raise AssertionError


@pytest.mark.xfail(reason="known")
def test_xpasses():
    pass


@pytest.mark.xfail(reason="known", strict=True)
def test_xfails_strictly():
    raise AssertionError


@pytest.mark.xfail(reason="known", strict=True)
def test_xpasses_strictly():
    pass


@pytest.mark.xfail(reason="only this", raises=KeyError)
def test_fails_in_another_way_than_expected():
    raise ValueError


def test_imperative_xfail():
    pytest.xfail("from inside")


def test_missing_fixture(there_is_no_such_fixture):
    pass


class TestClass:
    def test_method(self):
        pass

    class TestInner:
        def test_inner_method(self):
            raise AssertionError("in a class in a class")

    @pytest.mark.parametrize("number", [1, 2])
    @pytest.mark.parametrize("letter", "ab")
    def test_grid(self, number, letter):
        assert (number, letter) != (2, "b")


class TestUnittest(unittest.TestCase):
    def setUp(self):
        self.value = 1

    def test_method(self):
        self.assertEqual(self.value, 1)  # noqa: PT009 - what unittest's own users write

    def test_failure(self):
        self.assertEqual({"a": [1, 2, 3]}, {"a": [1, 2, 4]})  # noqa: PT009

    @unittest.skip("by unittest")
    def test_skipped(self):
        pass

    @unittest.expectedFailure
    def test_expected_failure(self):
        self.fail()

    @unittest.expectedFailure
    def test_unexpected_success(self):
        pass
