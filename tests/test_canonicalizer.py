"""The canonical form and the identity that is made of it."""

from __future__ import annotations

import hashlib
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import pytest
from attacks import builder
from attacks.corpus import REPORT, good
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pytest_jux.canonicalizer import (
    INHERITED_1_0,
    INHERITED_1_1,
    canonical_digest,
    canonical_form,
    canonical_hash,
    canonical_subtree,
    detach,
    identity,
    signatures,
    without_signatures,
)
from pytest_jux.document import Limits, parse
from pytest_jux.errors import NotAReport, ReportRefused, ReportTooLarge

XML = "{http://www.w3.org/XML/1998/namespace}"
DS = f'xmlns:ds="{builder.NS}"'


def test_identity_is_a_digest_in_words() -> None:
    assert identity(bytes(range(30, 34))) == "sha256:1e1f2021"


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_the_digest_is_that_of_the_canonical_form(algorithm: str, *, exclusive: bool) -> None:
    root = parse(b'<testsuite xmlns:a="urn:a"><b>x</b><!-- y --></testsuite>')
    expected = hashlib.new(algorithm, canonical_form(root, exclusive=exclusive)).digest()
    for size in (0, 1_000_000, 1_000_001):  # as a whole, and as a stream
        assert canonical_digest(root, size, algorithm, exclusive=exclusive) == expected


def test_the_digest_is_the_inclusive_sha256_unless_asked() -> None:
    root = parse(b'<testsuite xmlns:a="urn:a"/>')
    assert canonical_digest(root, 1) == hashlib.sha256(b'<testsuite xmlns:a="urn:a"></testsuite>').digest()


def test_the_hash_of_a_known_report_is_known() -> None:
    expected = hashlib.sha256(b'<testsuite a="1" b="2"></testsuite>').hexdigest()
    assert canonical_hash(b"<?xml version='1.0'?>\n<testsuite b='2'   a='1'/><!-- x -->\n") == f"sha256:{expected}"


def test_the_hash_is_that_of_the_unsigned_report() -> None:
    assert canonical_hash(good()) == canonical_hash(REPORT)


def test_the_hash_does_not_depend_on_the_number_of_signatures() -> None:
    twice = REPORT.replace(b"</testsuites>", f"<ds:Signature {DS}/>x<ds:Signature {DS}/></testsuites>".encode())
    assert canonical_hash(twice) == canonical_hash(REPORT.replace(b"</testsuites>", b"x</testsuites>"))


def test_the_hash_obeys_the_limits_given() -> None:
    assert canonical_hash(b"<testsuite/>", Limits(bytes=12))
    with pytest.raises(ReportTooLarge, match="more than 11 bytes"):
        canonical_hash(b"<testsuite/>", Limits(bytes=11))


def test_what_is_no_report_has_no_hash() -> None:
    with pytest.raises(NotAReport):
        canonical_hash(b"<html/>")


def test_comments_are_not_in_the_canonical_form_and_instructions_are() -> None:
    root = etree.fromstring(b"<?a b?><!-- x --><testsuite>a<!-- y -->b<?c?></testsuite><!-- z --><?d?>")
    assert canonical_form(root) == b"<?a b?>\n<testsuite>ab<?c?></testsuite>\n<?d?>"


def test_the_exclusive_form_leaves_unused_namespaces_out() -> None:
    root = parse(b'<testsuite xmlns:a="urn:a"><b/></testsuite>')
    assert canonical_form(root) == b'<testsuite xmlns:a="urn:a"><b></b></testsuite>'
    assert canonical_form(root, exclusive=True) == b"<testsuite><b></b></testsuite>"


def test_a_relative_namespace_has_no_canonical_form() -> None:
    expected = "^report refused: it uses a relative namespace name, for which canonical XML is not defined$"
    with pytest.raises(ReportRefused, match=expected):
        canonical_hash(b'<testsuite xmlns:a="b/c"/>')
    root = parse(b'<testsuite xmlns:a="b/c" a:d="1"/>')
    with pytest.raises(ReportRefused, match=expected):
        canonical_form(root, exclusive=True)
    for size in (1, 2_000_000):
        with pytest.raises(ReportRefused, match=expected):
            canonical_digest(root, size, exclusive=True)


@pytest.mark.parametrize("inherited", [None, INHERITED_1_0, INHERITED_1_1])
def test_a_relative_namespace_inside_a_signature_has_no_canonical_form(inherited: frozenset[str] | None) -> None:
    root = parse(b'<testsuite xmlns:a="b/c"><b a:d="1"/></testsuite>')
    with pytest.raises(ReportRefused, match="relative namespace"):
        canonical_subtree(root[0], inherited=inherited)


# --- a part of a document --------------------------------------------------------------------------------------------

PART = (
    '<testsuite xmlns="urn:d" xmlns:u="urn:u" xml:lang="de" xml:base="http://a/" xml:space="preserve" xml:id="i" '
    'u:v="1">'
    f'before<ds:Signature {DS} xml:lang="en" Id="s"><ds:SignedInfo x="2">  <ds:A>1</ds:A>t<!-- c --><ds:B/> '
    "</ds:SignedInfo>tail</ds:Signature></testsuite>"
).encode()
INSIDE = ">  <ds:A>1</ds:A>t<ds:B></ds:B> </ds:SignedInfo>"


def signed_info(data: bytes = PART) -> etree._Element:
    return next(parse(data).iter(f"{{{builder.NS}}}SignedInfo"))


def test_the_exclusive_form_of_a_part_has_what_it_uses() -> None:
    assert canonical_subtree(signed_info(), inherited=None).decode() == f'<ds:SignedInfo {DS} x="2"{INSIDE}'


def test_the_inclusive_form_of_a_part_has_all_namespaces_and_xml_attributes() -> None:
    assert canonical_subtree(signed_info(), inherited=INHERITED_1_0).decode() == (
        f'<ds:SignedInfo xmlns="urn:d" {DS} xmlns:u="urn:u" x="2" xml:base="http://a/" xml:id="i" xml:lang="en" '
        f'xml:space="preserve"{INSIDE}'
    )


def test_canonical_xml_1_1_does_not_carry_xml_id_over() -> None:
    assert canonical_subtree(signed_info(), inherited=INHERITED_1_1).decode() == (
        f'<ds:SignedInfo xmlns="urn:d" {DS} xmlns:u="urn:u" x="2" xml:base="http://a/" xml:lang="en" '
        f'xml:space="preserve"{INSIDE}'
    )


def test_an_attribute_of_the_part_itself_wins() -> None:
    data = PART.replace(b"<ds:SignedInfo ", b'<ds:SignedInfo xml:lang="fr" xml:id="own" ')
    assert b' xml:id="own" xml:lang="fr" ' in canonical_subtree(signed_info(data), inherited=INHERITED_1_1)


def test_the_names_of_inherited_attributes() -> None:
    assert {XML + "lang", XML + "space", XML + "base", XML + "id"} == INHERITED_1_0
    assert {XML + "lang", XML + "space", XML + "base"} == INHERITED_1_1


def test_the_part_stays_where_it_is() -> None:
    element = signed_info()
    root = element.getroottree().getroot()
    before = etree.tostring(root)
    for inherited in (None, INHERITED_1_0):
        canonical_subtree(element, inherited=inherited)
    assert etree.tostring(root) == before


# --- taking signatures out -------------------------------------------------------------------------------------------


def test_only_signatures_directly_under_the_root_are_found() -> None:
    root = parse(
        f"<testsuite {DS}><ds:Signature Id='1'/><a><ds:Signature/></a><ds:Signature Id='2'/></testsuite>".encode()
    )
    assert [one.get("Id") for one in signatures(root)] == ["1", "2"]
    assert without_signatures(root) is root
    assert [etree.QName(one).localname for one in root.iter()] == ["testsuite", "a", "Signature"]


def test_the_texts_behind_several_signatures_stay_in_their_order() -> None:
    text = f"<testsuite {DS}>0<ds:Signature/>1<ds:Signature/>2<a/>3<ds:Signature/>4<ds:Signature/>5</testsuite>"
    assert (
        canonical_form(without_signatures(parse(text.encode()))).decode()
        == f"<testsuite {DS}>012<a></a>345</testsuite>"
    )


def test_a_signature_of_another_namespace_is_none() -> None:
    assert signatures(parse(b'<testsuite><Signature xmlns="urn:x"/><Signature/></testsuite>')) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<a><b/></a>", "<a></a>"),
        ("<a>1<b/></a>", "<a>1</a>"),
        ("<a><b/>2</a>", "<a>2</a>"),
        ("<a>1<b/>2</a>", "<a>12</a>"),
        ("<a><c/><b/></a>", "<a><c></c></a>"),
        ("<a><c/><b/>2</a>", "<a><c></c>2</a>"),
        ("<a><c/>1<b/>2<d/>3</a>", "<a><c></c>12<d></d>3</a>"),
        ("<a>0<b>x<c/>y</b>2<b/></a>", "<a>02<b></b></a>"),
    ],
)
def test_the_text_around_a_removed_element_stays(before: str, after: str) -> None:
    root = etree.fromstring(before)
    removed = root.find("b")
    detach(removed)
    assert canonical_form(root).decode() == after
    assert removed.getparent() is None
    assert removed.tail is None


def test_a_root_is_not_detached_from_anything() -> None:
    root = etree.fromstring("<a>1</a>")
    detach(root)
    assert canonical_form(root) == b"<a>1</a>"


# --- a second implementation -----------------------------------------------------------------------------------------

_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\ufffe\uffff"), max_size=9
).map(lambda text: "".join(character for character in text if character >= " " or character in "\t\n\r"))
_NAMES = st.sampled_from(["testcase", "a", "b", "é", "x-y"])


def _element(name: str, attributes: dict[str, str], parts: list[str]) -> str:
    shown = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<{name}{shown}>{''.join(parts)}</{name}>"


def _attribute_names() -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(_NAMES, _TEXT, max_size=3)


_TREES = st.recursive(
    _TEXT.map(lambda text: escape(text, {"\r": "&#13;"})),
    lambda children: st.builds(_element, _NAMES, _attribute_names(), st.lists(children, max_size=4)),
    max_leaves=12,
)


@given(st.builds(_element, st.just("testsuite"), _attribute_names(), st.lists(_TREES, max_size=4)))
def test_documents_without_namespaces_agree_with_a_second_implementation(text: str) -> None:
    assert canonical_form(parse(text.encode())).decode() == ET.canonicalize(text, with_comments=False)


@given(st.builds(_element, st.just("testsuite"), _attribute_names(), st.lists(_TREES, max_size=4)))
def test_the_canonical_form_of_a_canonical_form_is_itself(text: str) -> None:
    once = canonical_form(parse(text.encode()))
    assert canonical_form(parse(once)) == once
    assert canonical_hash(text.encode()) == canonical_hash(once) == f"sha256:{hashlib.sha256(once).hexdigest()}"
