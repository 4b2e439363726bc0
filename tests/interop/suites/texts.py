"""Names, output and messages that are hard on XML. Copied to `test_texts.py` before it is run."""

# ruff: noqa: T201 - captured output is part of a report

from __future__ import annotations

import logging
import os
import sys

import pytest

NAMES = [
    "plain",
    "Ünïcödé ß",
    "日本語",
    "😀👩‍👩‍👧‍👦",
    "𐍈 beyond the basic plane",
    "right \u202e to left",
    "combining e\u0301",
    "]]>",
    "<![CDATA[",
    "<&\">'",
    "&lt;&#10;",
    "<!-- comment -->",
    "<?pi?>",
    "</testcase></testsuite></testsuites>",
    "<ds:Signature xmlns:ds='x'/>",
    "new\nline",
    "carriage\r\nreturn",
    "tab\there",
    "escape \x1b[31mred\x1b[0m",
    "bell \x07 and delete \x7f",
    "C1 \x80\x9b",
    "next line \x85 separator \u2028",
    "no character \ufffe\uffff",
    "zero\x00byte",
    "back\\slash",
    " spaces  around ",
    "x" * 500,
]


@pytest.mark.parametrize("text", NAMES, ids=NAMES)
def test_name(text):
    assert text


@pytest.mark.parametrize("text", NAMES, ids=[f"number {number}" for number in range(len(NAMES))])
def test_text_in_message_and_output(text):
    print(text)
    print(text, file=sys.stderr)
    logging.getLogger("texts").warning("logged %s", text)
    assert not text, text


def test_bytes_on_the_descriptors():
    os.write(1, b"not UTF-8: \xff\xfe\x80 \x00 end\n")
    os.write(2, b"\x1b]0;title\x07 and a carriage return\rover it\r\n")


def test_every_control_character():
    print("".join(map(chr, range(0xA0))))
    raise AssertionError("".join(map(chr, range(0xA0))))


def test_long_difference():
    assert [f"line {number} é <&>" for number in range(400)] == [f"line {number} è <&>" for number in range(400)]


def test_long_strings():
    assert "a\tb]]>" * 2000 == "a\tb]]&" * 2000


def test_properties(record_property):
    for number, text in enumerate(NAMES):
        record_property(f"text {number}", text)
    record_property("a <name> & 'more' 😀", 42)


def test_suite_properties(record_testsuite_property):
    record_testsuite_property("version <1> & 😀", "1.0\n\x1b[0m]]>")


def test_output_without_end():
    print("no newline at the end", end="")
    print("x" * 100_000)
