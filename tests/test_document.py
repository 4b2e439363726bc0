"""The gate before the parser, the parser, and the places in the bytes that signing needs."""

from __future__ import annotations

import pytest
from attacks.corpus import REPORT
from lxml import etree

from pytest_jux.document import (
    DEFAULT_LIMITS,
    Limits,
    check_gate,
    child_spans,
    end_of_root,
    has_inner_instruction,
    local_name,
    parse,
)
from pytest_jux.errors import NotAReport, ReportMalformed, ReportRefused, ReportTooLarge

ACCEPTED = [
    "utf-8",
    "UTF-8",
    "utf8",
    "us-ascii",
    "ASCII",
    "iso-8859-1",
    "ISO-8859-15",
    "iso-8859-2",
    "windows-1252",
    "windows-1250",
    "koi8-r",
    "KOI8-U",
]
REFUSED = [
    "utf-16",
    "utf-7",
    "utf-32",
    "iso-2022-jp",
    "hz-gb-2312",
    "shift_jis",
    "big5",
    "gbk",
    "gb18030",
    "euc-jp",
    "ebcdic-cp-us",
    "cp037",
    "x",
    "windows-1258x",
]


def attributes(count: int, form: str = 'a{}="1"') -> bytes:
    return " ".join(form.format(number) for number in range(count)).encode()


def namespaces(count: int) -> bytes:
    return " ".join(f'xmlns:n{number}="urn:{number}"' for number in range(count)).encode()


# --- parsing ---------------------------------------------------------------------------------------------------------


def test_comments_are_dropped_and_texts_joined() -> None:
    root = parse(b"<!-- a --><testsuite>1<!-- b -->2<a/>3<!-- c -->4</testsuite>")
    assert (root.text, root[0].tail, len(root)) == ("12", "34", 1)


def test_cdata_is_text() -> None:
    assert parse(b"<testsuite>1<![CDATA[<2>]]>3</testsuite>").text == "1<2>3"


def test_the_root_may_be_in_a_namespace() -> None:
    assert local_name(parse(b"<x:testsuites xmlns:x='urn:x'/>")) == "testsuites"


def test_comments_and_instructions_have_no_name() -> None:
    assert local_name(etree.Comment("x")) == local_name(etree.PI("x")) == ""


def test_identifiers_do_not_have_to_be_unique() -> None:
    assert parse(b"<testsuite><a xml:id='1'/><a xml:id='1'/></testsuite>") is not None


@pytest.mark.parametrize("encoding", ACCEPTED)
def test_encodings_in_which_markup_is_ascii_are_read(encoding: str) -> None:
    text = f"<?xml version='1.0' encoding='{encoding}'?><testsuite name='ok'/>"
    assert parse(text.encode()).get("name") == "ok"


@pytest.mark.parametrize("encoding", REFUSED)
def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    with pytest.raises(ReportRefused) as caught:
        parse(f"<?xml version='1.0' encoding='{encoding}'?><testsuite/>".encode())
    assert str(caught.value) == f"report refused: its encoding is {encoding}; convert it to UTF-8"
    assert caught.value.reason == f"its encoding is {encoding}; convert it to UTF-8"


def test_a_long_encoding_is_cut() -> None:
    with pytest.raises(ReportRefused, match=f"its encoding is {'x' * 40}; convert"):
        parse(b"<?xml version='1.0' encoding='" + b"x" * 99 + b"'?><testsuite/>")


@pytest.mark.parametrize(
    ("beginning", "name"),
    [
        (b"\xff\xfe<\0", "UTF-16"),
        (b"\xfe\xff\0<", "UTF-16"),
        (b"<\0t\0", "UTF-16"),
        (b"\0<\0t", "UTF-16"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\0\0\0<", "UTF-32"),
        (b"\x4c\x6f\xa7\x94", "EBCDIC"),
    ],
)
def test_wide_encodings_are_refused_by_name(beginning: bytes, name: str) -> None:
    with pytest.raises(ReportRefused) as caught:
        parse(beginning + b"testsuite")
    assert str(caught.value) == f"report refused: its encoding is {name}; convert it to UTF-8"


@pytest.mark.parametrize("declaration", [b"<?xml version='1.0'?>", b'<?xml version = "1.0" standalone="yes"?>', b""])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf_8_is_the_default(declaration: bytes, mark: bytes) -> None:
    assert parse(mark + declaration + "<testsuite name='é'/>".encode()).get("name") == "é"


def test_the_declaration_after_a_byte_order_mark_is_read() -> None:
    with pytest.raises(ReportRefused, match="its encoding is utf-7"):
        parse(b"\xef\xbb\xbf<?xml version='1.0' encoding='utf-7'?><testsuite/>")


def test_xml_1_1_is_refused() -> None:
    with pytest.raises(ReportRefused) as caught:
        parse(b"<?xml version='1.1'?><testsuite/>")
    assert str(caught.value) == "report refused: it is XML 1.1, not XML 1.0"


@pytest.mark.parametrize(
    ("data", "line", "column"), [(b"<testsuite>\n<a></b></testsuite>", 2, 8), (b"<testsuite>&x;</testsuite>", 1, 15)]
)
def test_malformed_xml_is_located(data: bytes, line: int, column: int) -> None:
    with pytest.raises(ReportMalformed) as caught:
        parse(data)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"not well-formed XML at line {line}, column {column}: ")
    assert f"line {line}, column" not in caught.value.reason


def test_malformed_xml_without_a_place_is_just_that() -> None:
    assert str(ReportMalformed("why")) == "not well-formed XML: why"


def test_the_root_decides_and_not_what_is_in_it() -> None:
    with pytest.raises(NotAReport) as caught:
        parse(b"<results><testsuite/></results>")
    assert str(caught.value) == "not a JUnit XML report: the root element is 'results'"
    assert (caught.value.found, caught.value.hint) == (
        "the root element is 'results'",
        "Give a JUnit XML report, such as pytest writes with --junit-xml.",
    )


def test_a_gate_that_was_passed_by_another_root_is_no_way_in() -> None:
    """The gate reads bytes and the parser characters; the parser's word is the last."""
    with pytest.raises((NotAReport, ReportMalformed)):
        parse(b"<testsuite\x0b><a/></testsuite\x0b>")


# --- limits ----------------------------------------------------------------------------------------------------------


def test_the_limits_are_these() -> None:
    assert Limits() == DEFAULT_LIMITS
    assert DEFAULT_LIMITS.bytes == 100_000_000
    assert DEFAULT_LIMITS.attributes_per_element == 128
    assert DEFAULT_LIMITS.namespaces_in_scope == 8


def refused(data: bytes, limits: Limits = DEFAULT_LIMITS) -> str:
    with pytest.raises(ReportTooLarge) as caught:
        check_gate(data, limits)
    return str(caught.value)


def test_bytes_are_limited_exactly() -> None:
    data = b"<testsuite/>"
    check_gate(data, Limits(bytes=len(data)))
    assert refused(data, Limits(bytes=len(data) - 1)) == "report refused: more than 11 bytes"


@pytest.mark.parametrize("element", [b"<a/>", b"<a></a>", b"<a>x</a>"])
def test_elements_are_limited_exactly(element: bytes) -> None:
    data = b"<testsuite>" + element * 9 + b"</testsuite>"
    check_gate(data, Limits(elements=10))
    assert refused(data, Limits(elements=9)) == "report refused: more than 9 elements"


@pytest.mark.parametrize("quoted", [b"<!-- <a/> -->", b"<![CDATA[<a/><a/>]]>"])
def test_what_only_looks_like_an_element_is_none(quoted: bytes) -> None:
    check_gate(b"<testsuite>" + quoted * 9 + b"</testsuite>", Limits(elements=9))


def test_instructions_count_like_elements() -> None:
    """Each is a node of the tree, as large as an element."""
    assert "more than" in refused(b"<testsuite/>" + b"<?a?>" * 10, Limits(elements=9))


@pytest.mark.parametrize("form", ['a{}="1"', "a{}='1'", 'a{}  =\n"1"', 'a{}=">"', "a{}='\"'", 'a{}=""'])
def test_128_attributes_on_one_element_are_accepted_and_129_are_not(form: str) -> None:
    for element in (b"testsuite ", b"testsuite><a ", b"testsuite>" + b"x" * 500 + b"<a "):
        end = b"/>" if element == b"testsuite " else b"/></testsuite>"
        check_gate(b"<" + element + attributes(128, form) + end)
        data = b"<" + element + attributes(129, form) + end
        assert refused(data) == "report refused: more than 128 attributes on one element"


def test_attributes_are_counted_per_element() -> None:
    check_gate(b"<testsuite>" + (b"<a " + attributes(128) + b"/>") * 9 + b"</testsuite>")


def test_attributes_of_the_whole_are_limited_exactly() -> None:
    data = b"<testsuite>" + b'<a b="1" c="2"/>' * 5 + b"</testsuite>"
    check_gate(data, Limits(attributes=10))
    assert refused(data, Limits(attributes=9)) == "report refused: more than 9 attributes"


def test_attributes_of_one_element_are_limited_where_there_are_many_in_all() -> None:
    data = b"<testsuite>" + b'<a b="1"/>' * 9 + b"<a " + attributes(5) + b"/></testsuite>"
    assert refused(data, Limits(attributes=10, attributes_per_element=4)) == (
        "report refused: more than 4 attributes on one element"
    )


@pytest.mark.parametrize("quoted", [b"<!-- <a b='1'> -->", b"<![CDATA[<a b='1'>]]>", b"= = = '='"])
def test_what_only_looks_like_an_attribute_is_none(quoted: bytes) -> None:
    check_gate(b"<testsuite>" + quoted * 9 + b"</testsuite>", Limits(attributes=5))


def test_assignments_in_a_text_are_no_attributes() -> None:
    check_gate(b"<testsuite>" + attributes(99) + b"</testsuite>")
    check_gate(b"<testsuite a='1'> < ".replace(b" < ", b" &lt; ") + attributes(99) + b"</testsuite>")


def test_8_namespaces_in_scope_are_accepted_and_9_are_not() -> None:
    check_gate(b"<testsuite " + namespaces(8) + b"/>")
    assert refused(b"<testsuite " + namespaces(9) + b"/>") == "report refused: more than 8 namespaces in one scope"


def test_namespaces_are_counted_over_all_levels_and_not_over_siblings() -> None:
    nested = b"<testsuite " + namespaces(4) + b"><a " + namespaces(4) + b"/>%b</testsuite>"
    check_gate(nested % (b"<b " + namespaces(4) + b"/>"))
    assert "namespaces" in refused(nested % (b"<b " + namespaces(5) + b"/>"))


def test_xmlns_in_a_text_is_no_namespace() -> None:
    check_gate(b"<testsuite>" + b"xmlns " * 99 + b"</testsuite>")


def test_malformed_xml_is_noticed_while_namespaces_are_counted() -> None:
    with pytest.raises(ReportMalformed, match="not well-formed XML at line 1"):
        check_gate(b"<testsuite>" + b"<a xmlns='urn:a'/>" * 99 + b"</b>")


def test_nesting_is_limited() -> None:
    levels = 511
    assert parse(b"<testsuite>" + b"<a>" * levels + b"</a>" * levels + b"</testsuite>") is not None
    with pytest.raises(ReportTooLarge) as caught:
        parse(b"<testsuite>" + b"<a>" * 512 + b"</a>" * 512 + b"</testsuite>")
    assert str(caught.value) == "report refused: more than 512 levels of nesting"
    assert (caught.value.what, caught.value.limit) == ("levels of nesting", 512)


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "inside"),
    [
        (b"<testsuite/>", False),
        (b"<?a?><testsuite/><?b?>", False),
        (b"<?xml version='1.0'?><!-- --><?a?> <testsuite>?</testsuite>", False),
        (b"<testsuite><![CDATA[<?a?>]]></testsuite>", False),
        (b"<testsuite><?a?></testsuite>", True),
        (b"<testsuite><a><?a?></a></testsuite>", True),
        (b"<?a?><testsuite><!-- <?b?> --></testsuite>", False),
    ],
)
def test_instructions_inside_the_root_are_found(data: bytes, *, inside: bool) -> None:
    assert has_inner_instruction(parse(data), data) is inside


@pytest.mark.parametrize(
    ("data", "rest", "name"),
    [
        (b"<testsuite></testsuite>", b"</testsuite>", b""),
        (b"<testsuite></testsuite >\n", b"</testsuite >\n", b""),
        (b"<testsuite/>", b"/>", b"testsuite"),
        (b"<?a?><x:testsuite xmlns:x='u' />\n", b"/>\n", b"x:testsuite"),
        (b"<testsuite a='/>'/>", b"/>", b"testsuite"),
        (b"<testsuite><a/></testsuite><!-- </b> -->", b"</testsuite><!-- </b> -->", b""),
        (b"<testsuite/><!-- </b> -->", b"/><!-- </b> -->", b"testsuite"),
        (b"<testsuite/><?a </b>?>", b"/><?a </b>?>", b"testsuite"),
        (b"<testsuite><a/><!-- --></testsuite>", b"</testsuite>", b""),
        (b"<testsuite><a/></testsuite>" + b" " * 5000, b"</testsuite>" + b" " * 5000, b""),
    ],
)
def test_the_end_of_the_root_is_found(data: bytes, rest: bytes, name: bytes) -> None:
    parse(data)
    position, found = end_of_root(data)
    assert (data[position:], found) == (rest, name)


def test_children_are_found_by_namespace_and_name() -> None:
    data = b"<testsuite xmlns:a='urn:a'><a:b>1</a:b><b/>\n<a:b c='>' />.<a:c><a:b/></a:c>"
    data += b"<b xmlns='urn:a'></b ></testsuite>"
    assert [data[start:end] for start, end in child_spans(data, "urn:a", "b")] == [
        b"<a:b>1</a:b>",
        b"<a:b c='>' />",
        b"<b xmlns='urn:a'></b >",
    ]


def test_a_report_has_no_children_of_another_name() -> None:
    assert child_spans(REPORT, "urn:a", "testsuite") == []


@pytest.mark.parametrize("encoding", ["iso-8859-1", "windows-1251", "koi8-r", "us-ascii"])
def test_a_byte_order_mark_and_another_encoding_are_refused(encoding: str) -> None:
    """libxml2 believes the mark, expat and xmlsec1 the declaration: they would read other characters."""
    data = b"\xef\xbb\xbf<?xml version='1.0' encoding='" + encoding.encode() + b"'?><testsuite/>"
    with pytest.raises(ReportRefused, match="it begins as UTF-8"):
        check_gate(data)
    check_gate(data.replace(encoding.encode(), b"UTF-8"))
