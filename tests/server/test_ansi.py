"""Colours of terminals on pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from jux_server.web import ansi
from jux_server.web.ansi import coloured

SEQUENCE = st.sampled_from(
    [
        *("\x1b[31m", "#x1B[1m", "#x1b[0m", "\x1b[m", "\x1b[38;5;200m", "\x1b[1;38;2;1;2;3;4m", "\x1b[2J", "\x1b[7m"),
        *("\x1b]8;;javascript:alert(1)\x07", "#x1B]8;;https://a.example#x07", "\x1b[9999m", "\x1b[", "\x1b", "\x1b[1"),
        *("<script>", "&amp;", "'", '"', "\u202e", "\x00", "\n", "\t", "\r", "#x1B", "\x9b31m", "\x1b(B", "+.+."),
    ]
)
TEXT = st.lists(st.one_of(SEQUENCE, st.text(max_size=20)), max_size=30).map("".join)
CLASS = re.compile(r"ansi(?:[12349]|22|23|24|3[0-79]|4[0-79]|9[0-7]|10[0-7])")


def tree(text):
    return html.fromstring(f"<div>{coloured(text)}</div>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("#x1B[31mred#x1B[0m plain", '<span class="ansi31">red</span> plain'),
        ("\x1b[31mred\x1b[0m plain", '<span class="ansi31">red</span> plain'),
        ("\x1b[1m\x1b[31mE   assert\x1b[0m", '<span class="ansi1"></span><span class="ansi1 ansi31">E   assert</span>'),
        ("\x1b[38;5;200mpink\x1b[0m", "pink"),
        ("\x1b[1;38;2;9;9;9mbold\x1b[m", '<span class="ansi1">bold</span>'),
        ("a\x1b[2Jb\x1b[10;10Hc", "abc"),
        ("\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07", "link"),
        ("#x1B]8;;javascript:alert(1)#x07link#x1B]8;;#x07", "link"),
        ("<b>&amp;</b>", "&lt;b&gt;&amp;amp;&lt;/b&gt;"),
        ("#x1B is not an escape", "#x1B is not an escape"),
        ("\x1b[31m<b>\x1b[0m", '<span class="ansi31">&lt;b&gt;</span>'),
        ("line\n\tnext\r", "line\n\tnext\\x0d"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("", ""),
    ],
)
def test_colours_are_classes_and_all_else_is_text(text, shown):
    assert str(coloured(text)) == shown


@given(TEXT)
def test_nothing_but_spans_with_known_classes_comes_out(text):
    for element in tree(text).iter():
        assert element.tag in {"div", "span"}
        assert set(element.attrib) <= {"class"}
        assert all(CLASS.fullmatch(name) for name in element.get("class", "").split())


@given(st.text(alphabet=st.characters(blacklist_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"]), max_size=200))
def test_text_without_sequences_stays_as_it_is(text):
    assert tree(text).text_content() == text


@given(TEXT)
def test_no_control_or_bidi_character_comes_out(text):
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", str(coloured(text)))


@pytest.mark.parametrize(
    "piece", ["#x1B[31m", "\x1b[", "\x1b]8;;", "#x1B]8;;x", "\x1b[1;2;3;4;5;6mx", "\x1b[31mx\x1b[0m\n"]
)
def test_much_of_it_is_cut_and_shown(piece):
    shown = tree(piece * 200_000).text_content()
    assert len(shown) <= 10 * ansi._LONGEST
    assert shown.endswith("…")


def test_every_class_has_a_style():
    styles = (Path(ansi.__file__).parent / "static" / "css" / "ansi.css").read_text(encoding="utf-8")
    named = set(re.findall(r"\.(ansi\d+)", styles))
    shown = {name for code in ansi._KNOWN for name in re.findall(r"ansi\d+", str(coloured(f"\x1b[{code}mx\x1b[0m")))}
    assert shown
    assert shown <= named
