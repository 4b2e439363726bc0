"""Colours of terminals on pages."""

from __future__ import annotations

import re
import string
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
        *(
            "\x1b[38",
            ";5",
            ";2;",
            ":",
            "m",
            "\x1b[4:3m",
            "\x1b[48:2::1:2:3m",
            "#x1B]8;;https://a.example#b#x1B\\",
            "\x1b[>4m",
        ),
        *("<script>", "&amp;", "'", '"', "\u202e", "\x00", "\n", "\t", "\r", "#x1B", "\x9b31m", "\x1b(B", "+.+."),
    ]
)
PARAMETERS = st.text("0123456789;:?", max_size=30)
TEXT = st.lists(
    st.one_of(SEQUENCE, st.text(max_size=20), PARAMETERS.map("\x1b[{}m".format), PARAMETERS.map("#x1B[38;{}m".format)),
    max_size=30,
).map("".join)
CLASS = re.compile(r"ansi(?:[12349]|22|23|24|3[0-79]|4[0-79]|9[0-7]|10[0-7])")


def tree(text):
    return html.fromstring(f"<div>{coloured(text)}</div>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("#x1B[31mred#x1B[0m plain", '<span class="ansi31">red</span> plain'),
        ("\x1b[31mred\x1b[0m plain", '<span class="ansi31">red</span> plain'),
        ("\x1b[1m\x1b[31mE   assert\x1b[0m", '<span class="ansi1 ansi31">E   assert</span>'),
        ("\x1b[32mgreen\x1b[31mred\x1b[39;49;00m", '<span class="ansi32">green</span><span class="ansi31">red</span>'),
        ("\x1b[1;31m\x1b[0m\x1b[1mbold", '<span class="ansi1">bold</span>'),
        ("\x1b[>4;2mplain\x1b[999m", "plain"),
        ("a\x1b[2Jb\x1b[10;10Hc", "abc"),
        ("\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07", "link"),
        ("#x1B]8;;javascript:alert(1)#x07link#x1B]8;;#x07", "link"),
        ("#x1B]8;;file:///a.py#L3#x1B\\link#x1B]8;;#x1B\\", "link"),
        ("\x1b]8;;file:///a.py#L3\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]8;;has no end", "\\x1b]8;;has no end"),
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


@pytest.mark.parametrize(
    ("codes", "classes"),
    [
        ("38;5;1", "ansi31"),
        ("38;5;12", "ansi94"),
        ("38;5;208", "ansi33"),
        ("38;5;240", "ansi90"),
        ("38;5;999", "ansi97"),
        ("48;5;4", "ansi44"),
        ("38;2;250;10;10", "ansi91"),
        ("38:2::0:250:0", "ansi92"),
        ("38:5:3", "ansi33"),
        ("1;38;5;200;4", "ansi1 ansi4 ansi95"),
        ("1;38;9", "ansi1"),
        ("1;38", "ansi1"),
        ("1;4:3", "ansi1 ansi4"),
    ],
)
def test_any_colour_becomes_the_nearest_that_has_a_class(codes, classes):
    assert str(coloured(f"\x1b[{codes}mx\x1b[0m")) == f'<span class="{classes}">x</span>'


def test_underline_ends():
    assert str(coloured("\x1b[4:3mx\x1b[4:0my")) == '<span class="ansi4">x</span>y'


WORDS = st.text(string.ascii_letters + " \n<&>'\"", max_size=12)
CLOSED = st.sampled_from(
    ["\x1b[31m", "#x1B[1m", "\x1b[0m", "\x1b[38;5;9m", "\x1b]8;;a\x07", "#x1B]8;;#x1B\\", "\x1b[2J"]
)


@given(st.lists(st.tuples(WORDS, CLOSED), max_size=20))
def test_text_between_sequences_is_all_there(parts):
    assert tree("".join(word + sequence for word, sequence in parts)).text_content() == "".join(
        word for word, _ in parts
    )


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
