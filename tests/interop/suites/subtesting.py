"""Subtests. Copied to `test_subtesting.py` before it is run."""

# ruff: noqa: T201 - captured output is part of a report

from __future__ import annotations

import unittest

import pytest


def test_subtests(subtests):
    for number in range(4):
        with subtests.test("a <message> 😀", number=number):
            print("in subtest", number)
            assert number != 2
    with subtests.test("skipped"):
        pytest.skip("inside")


def test_subtests_that_all_pass(subtests):
    for number in range(3):
        with subtests.test(number=number):
            pass


def test_failure_after_subtests(subtests):
    with subtests.test("first"):
        raise ValueError("in the subtest")
    raise AssertionError("outside as well")


class TestUnittest(unittest.TestCase):
    def test_subtests(self):
        for number in range(3):
            with self.subTest("numbers", number=number):
                self.assertNotEqual(number, 1)  # noqa: PT009 - what unittest's own users write
