"""What a report says reaches a terminal as text, never as a command to it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_jux.text import encodable, parse_size, plural, show_size, visible


def test_plain_text_stays():
    assert visible("test_a[1-2] ok") == "test_a[1-2] ok"


def test_letters_of_every_script_stay():
    assert visible("Prüfung 測試 ✓ é") == "Prüfung 測試 ✓ é"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb", "a\\x0db"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("\u2066hidden\u2069", "\\u2066hidden\\u2069"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\udcff", "\\udcff"),
        ("\ue000", "\\ue000"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_would_steer_a_terminal_or_mislead_a_reader_is_written_out(hostile, shown):
    assert visible(hostile) == shown


def test_lines_and_tabs_stay_where_several_lines_are_wanted():
    assert visible("a\n\tb\x1b\r", multiline=True) == "a\n\tb\\x1b\\x0d"


@given(st.text())
def test_nothing_invisible_survives(text):
    assert not [c for c in visible(text) if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}]


@given(st.text())
def test_what_is_visible_stays_so(text):
    assert visible(visible(text)) == visible(text)


def test_marks_stay_where_the_terminal_can_show_them():
    assert encodable("✓ signé", "utf-8") == "✓ signé"


@pytest.mark.parametrize("encoding", ["ascii", None, "no-such-encoding"])
def test_marks_become_ascii_where_it_cannot(encoding):
    assert encodable("✓ ✗ ⚠ … é", encoding) == "+ x ! ... \\xe9"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.sampled_from(["ascii", "latin-1", "cp437"]))
def test_every_terminal_can_print_the_result(text, encoding):
    encodable(text, encoding).encode(encoding)


@pytest.mark.parametrize(("number", "words"), [(0, "0 tests"), (1, "1 test"), (2, "2 tests"), (12345, "12,345 tests")])
def test_numbers_agree_with_their_nouns(number, words):
    assert plural(number, "test") == words


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1_048_576),
        ("500 MB", 500_000_000),
        ("1.5GiB", 1_610_612_736),
        ("2k", 2_000),
        (" 3 tb ", 3_000_000_000_000),
    ],
)
def test_sizes_are_read_with_and_without_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1e3", "1 XB", "1,5 GB", "nan", "\u0661 MB", "9" * 16, "1 M B"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (2_400_000, "2.4 MB"),
        (5_000_000_000_000_000, "5,000.0 TB"),
    ],
)
def test_sizes_are_shown_in_powers_of_a_thousand(size, text):
    assert show_size(size) == text
