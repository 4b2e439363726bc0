"""Text that is no Unicode text. Copied to `test_surrogates.py` before it is run."""

from __future__ import annotations


def test_lone_surrogates(record_property):
    record_property("half a pair", "\udc80")
    raise AssertionError("half a pair: \udc80 and \ud83d")
