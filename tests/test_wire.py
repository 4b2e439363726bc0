"""Reports as text in JSON: every byte travels, and whatever a server answers, one error at most comes of it."""

from __future__ import annotations

import codecs
import contextlib
import functools
import itertools
import json
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publishing.hostile import document_bytes

from pytest_jux import __version__
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.document import parse
from pytest_jux.gate import ENCODINGS as ACCEPTED
from pytest_jux.signer import sign_report
from pytest_jux.wire import (
    Answer,
    NotAnAnswer,
    ReportUnsendable,
    page_of,
    read_answer,
    report_bytes,
    report_text,
    request_body,
    request_headers,
    shortened,
)

HASH = "sha256:" + "0" * 64
API = "https://jux.example.com/api/v1/reports"
ENCODINGS = sorted(ACCEPTED)
DECLARATIONS = ('<?xml version="1.0" encoding="{}"?>', "<?xml version='1.0'  encoding = '{}' standalone='yes' ?>\r\n")


def sent_text(data, metadata=None):
    """Return the text of a report as the other side gets it."""
    return json.loads(request_body(data, HASH, metadata))["report"]


@functools.cache
def alphabet(encoding):
    """Return every character of a small encoding that XML 1.0 allows in a text, without markup."""
    single, double = range(0x20, 0x100), range(0xA1, 0xFF)
    found = {"\t", "\r", "\n"}
    for code in [bytes([one]) for one in single] + [bytes(pair) for pair in itertools.product(double, double)]:
        with contextlib.suppress(UnicodeDecodeError):
            text = code.decode(encoding)
            found |= {text} if len(text) == 1 and text.encode(encoding) == code else set()
    return "".join(sorted(found - set("<&>]")))


def xml_text(encoding):
    """Return a strategy for texts that XML 1.0 can have in this encoding, without markup."""
    if not encoding.lower().startswith("utf"):
        return st.text(alphabet(encoding))
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="<&>]\ufffe\uffff")
    return st.text(characters.filter(lambda one: one >= " " or one in "\t\r\n"))


# --- the request -----------------------------------------------------------------------------------------------------


@st.composite
def documents(draw):
    """A document in any accepted encoding, with what its declaration and its texts may be."""
    encoding = draw(st.sampled_from(ENCODINGS))
    declaration = draw(st.sampled_from(DECLARATIONS)).format(draw(st.sampled_from([encoding, encoding.upper()])))
    text = draw(xml_text(encoding))
    return f'{declaration}<testsuite><testcase name="a"/><system-out>{text}</system-out></testsuite>'.encode(encoding)


@given(documents())
def test_a_report_in_any_accepted_encoding_travels_byte_for_byte(data):
    text = sent_text(data)
    assert report_bytes(text) == document_bytes(text) == data


@given(documents())
def test_what_arrives_is_the_same_report(data):
    assert canonical_hash(report_bytes(sent_text(data))) == canonical_hash(data)


@given(st.booleans(), st.booleans(), xml_text("utf-8"))
def test_utf8_needs_no_declaration_and_may_have_a_byte_order_mark(has_mark, is_declared, text):
    declaration = '<?xml version="1.0" encoding="UTF-8"?>' if is_declared else ""
    document = f"{declaration}<testsuites><!--{text.replace('-', '')}--></testsuites>".encode()
    data = (codecs.BOM_UTF8 if has_mark else b"") + document
    parse(data)
    assert report_bytes(sent_text(data)) == data


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_accepted_encoding_can_be_sent(encoding):
    assert (
        report_bytes(report_text(data := f'<?xml version="1.0" encoding="{encoding}"?><testsuites/>'.encode())) == data
    )


def test_a_signed_report_keeps_its_line_ends_and_its_signature(real_report, p256):
    data = sign_report(real_report.replace(b"><", b">\r\n<"), p256.key, p256.certificate)
    assert report_bytes(sent_text(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"<testsuites>\xe9</testsuites>",
        b'<?xml version="1.0" encoding="us-ascii"?><testsuites>\xc3\xa9</testsuites>',
        b'<?xml version="1.0" encoding="windows-1252"?><testsuites>\x81</testsuites>',
        b'<?xml version="1.0" encoding="no-such-thing"?><testsuites/>',
        b'<?xml version="1.0" encoding="hex"?><testsuites/>',
        b'<?xml version="1.0" encoding="undefined"?><testsuites/>',
        b'<?xml version="1.0" encoding="utf-16"?><testsuites/>',
        b'<?xml version="1.0" encoding="utf-7"?><testsuites>+AOk-</testsuites>\xff',
        b'<?xml version="1.0" encoding=""?><testsuites/>',
        b'<?xml version="1.0" encoding="\xff"?><testsuites/>',
        b'<?xml version="1.0" encoding="a\0b"?><testsuites/>',
        codecs.BOM_UTF8 + b'<?xml version="1.0" encoding="iso-8859-1"?><testsuites/>',
        '<?xml version="1.0"?><testsuites/>'.encode("utf-16"),
        f'<?xml version="1.0" {"ю" * 600} encoding="iso-8859-5"?><testsuites/>'.encode(),
    ],
)
def test_bytes_that_are_no_text_are_an_error_of_ours(data):
    with pytest.raises(ReportUnsendable) as caught:
        report_text(data)
    assert caught.value.encoding in str(caught.value)
    assert "UTF-8" in caught.value.hint
    with pytest.raises(ReportUnsendable):
        request_body(data, HASH)


@given(
    st.sampled_from(["", *DECLARATIONS]),
    st.sampled_from([*ENCODINGS, "x", "utf-16"]),
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()),
)
def test_whatever_can_be_sent_comes_back_and_everything_else_is_refused(declaration, encoding, noise):
    data = declaration.format(encoding).encode() + noise
    try:
        text = report_text(data)
    except ReportUnsendable:
        with pytest.raises(ReportUnsendable):
            request_body(data, HASH)
        return
    assert report_bytes(text) == data
    assert sent_text(data) == text


@pytest.mark.parametrize("character", [*map(chr, range(0x20)), '"', "\\", "/", "\x7f", "\x85", "\u2028", "\U0001f511"])
@pytest.mark.parametrize("encoding", ["utf-8", "UTF-8", "iso-8859-1"])
def test_every_character_that_json_escapes_arrives(character, encoding):
    """Also those that XML does not allow: whether it is a report is for others to say."""
    data = f'<?xml version="1.0" encoding="{encoding}"?>{character}a{character}{character}'.encode()
    body = request_body(data, HASH)
    assert report_bytes(json.loads(body)["report"]) == data
    assert not any(sign in body for sign in range(0x20))


@given(st.text())
def test_any_text_either_has_bytes_or_an_encoding_error(text):
    try:
        data = report_bytes(text)
    except (ValueError, LookupError):
        return
    assert isinstance(data, bytes)


def test_a_byte_order_mark_before_another_encoding_has_no_bytes():
    """Tools disagree about which of the two counts."""
    with pytest.raises(UnicodeError):
        report_bytes('\ufeff<?xml version="1.0" encoding="iso-8859-1"?><testsuites/>')


def test_the_body_is_what_the_documentation_says():
    body = request_body(b"<testsuites/>", HASH, {"git": {"branch": "main"}})
    assert json.loads(body) == {
        "report": "<testsuites/>",
        "canonical_hash": HASH,
        "metadata": {"git": {"branch": "main"}},
    }


def test_a_report_without_metadata_says_so():
    assert json.loads(request_body(b"<testsuites/>", HASH))["metadata"] == {}


def test_a_request_is_no_larger_than_it_must_be():
    """Six characters for each letter beyond ASCII would triple a report in Greek."""
    data = f"<testsuites>{'ю' * 1000}</testsuites>".encode()
    assert len(request_body(data, HASH)) < len(data) + 200


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), _JSON, max_size=4))
def test_any_metadata_makes_a_body_in_utf8(metadata):
    """File names and variables that are no text come with halves of characters, which JSON can only escape."""
    assert json.loads(request_body(b"<testsuites/>", HASH, metadata).decode("utf-8")) == {
        "report": "<testsuites/>",
        "canonical_hash": HASH,
        "metadata": metadata,
    }


def test_half_a_character_in_metadata_is_escaped():
    body = request_body(b"<testsuites/>", HASH, {"env": {"A": "\udcff"}})
    assert json.loads(body.decode("utf-8"))["metadata"] == {"env": {"A": "\udcff"}}


def test_the_callers_metadata_is_not_changed():
    metadata = {"hostname": "here"}
    request_body(b"<testsuites/>", HASH, metadata)
    assert metadata == {"hostname": "here"}


def test_the_headers_say_what_is_sent_and_by_whom():
    assert request_headers(HASH) == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": HASH,
        "User-Agent": f"pytest-jux/{__version__}",
    }


# --- the answer ------------------------------------------------------------------------------------------------------


def test_the_words_of_an_answer_are_read():
    said = {
        "status": "created",
        "id": "report-12345",
        "canonical_hash": HASH,
        "message": "Report published successfully",
        "url": "/reports/report-12345",
        "error": "none",
        "details": {"a": [1]},
        "more": "than we know",
    }
    assert read_answer(json.dumps(said).encode()) == Answer(
        **{name: value for name, value in said.items() if name != "more"}
    )


def test_an_answer_that_says_nothing_is_one():
    assert read_answer(b"{}") == Answer()


@pytest.mark.parametrize(
    ("value", "text"),
    [("report-1", "report-1"), (17, "17"), (-1, "-1"), (0, "0"), (2**127, str(2**127))],
)
def test_an_id_may_be_a_number(value, text):
    assert read_answer(json.dumps({"id": value}).encode()).id == text


@pytest.mark.parametrize("value", [None, True, False, 1.5, [], {}, ["a"], {"a": 1}, 2**128, -(2**128)])
def test_what_is_neither_text_nor_a_number_says_nothing(value):
    assert read_answer(json.dumps({"id": value, "message": value, "details": "x"}).encode()) == Answer()


def test_a_long_text_is_cut_for_people():
    assert shortened("x" * 2001) == "x" * 2000 + "…"
    assert shortened("x" * 2000) == "x" * 2000


def test_halves_of_characters_do_not_get_in():
    said = read_answer(rb'{"id": "a\ud800b", "message": "\udfff", "url": "\ud83d\ude00"}')
    assert (said.id, said.message, said.url) == ("a?b", "?", "\N{GRINNING FACE}")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "nothing"),
        (b" \r\n", "nothing"),
        (b"<!DOCTYPE html><p>", "an HTML page"),
        (b"\n <HTML>", "an HTML page"),
        (b"OK", "something that is not JSON"),
        (b"{'id': 1}", "something that is not JSON"),
        (b"\xff\xfe\xff", "something that is not JSON"),
        (b'{"id": "1"} trailing', "something that is not JSON"),
        (b'{"a":' * 100_000, "something that is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "something that is not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "something that is not JSON"),
        (b"[]", "JSON, but no object"),
        (b'"created"', "JSON, but no object"),
        (b"null", "JSON, but no object"),
        (b"NaN", "JSON, but no object"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else None,
)
def test_what_is_no_answer_is_named(body, words):
    with pytest.raises(NotAnAnswer) as caught:
        read_answer(body)
    assert str(caught.value) == words


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be"])
def test_json_in_any_encoding_that_it_can_have(encoding):
    assert read_answer('{"id": "é"}'.encode(encoding)).id == "é"


_PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b":", b",", b'"id"', b'"url"', b'"details"', b"1e999", b"NaN", b"-", b"\\ud800", b"\0"]
)
_BODIES = st.binary() | st.lists(_PIECES | st.binary(max_size=3)).map(b"".join) | _JSON.map(json.dumps).map(str.encode)


@given(_BODIES)
def test_any_bytes_are_an_answer_or_none(body):
    try:
        answer = read_answer(body)
    except NotAnAnswer:
        return
    texts = (answer.status, answer.id, answer.canonical_hash, answer.message, answer.error, answer.url)
    assert all(text.encode() is not None for text in texts)


@given(st.dictionaries(st.sampled_from(["status", "id", "message", "error", "url", "details"]), _JSON))
def test_any_object_is_an_answer_of_texts(said):
    answer = read_answer(json.dumps(said).encode())
    assert all(
        isinstance(getattr(answer, name), str)
        for name in ("status", "id", "canonical_hash", "message", "error", "url", "reason")
    )
    assert isinstance(answer.details, dict)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(), ""),
        (Answer(message="A sentence"), "A sentence"),
        (Answer(error="Invalid signature", message="A sentence"), "Invalid signature"),
        (Answer(error="Invalid", details={"reason": "Digest mismatch"}), "Invalid (Digest mismatch)"),
        (Answer(error="Invalid", details={"message": "Digest mismatch"}), "Invalid (Digest mismatch)"),
        (Answer(error="Invalid", details={"reason": "Invalid"}), "Invalid"),
        (Answer(details={"reason": "Digest mismatch"}), "Digest mismatch"),
        (Answer(error="Invalid", details={"reason": ["a", 1]}), "Invalid"),
        (Answer(error="Invalid", details={"reason": ""}), "Invalid"),
    ],
)
def test_a_reason_is_what_the_server_says_of_it(answer, reason):
    assert answer.reason == reason


# --- the page of a report --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://jux.example.com/r/7", "https://jux.example.com/r/7"),
        ("http://jux.example.com/r/7?a=b#c", "http://jux.example.com/r/7?a=b#c"),
        ("/r/7?a=b#c", "https://jux.example.com/r/7?a=b"),
        ("/", "https://jux.example.com/"),
    ],
)
def test_the_server_names_the_page(url, page):
    assert page_of(API, Answer(url=url)) == page


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/r/7",
        "https://jux.example.com:8443/r/7",
        "https://jux.example.com@evil.example.com/",
        "https://me:pa55word@jux.example.com/",
        "//evil.example.com/r/7",
        "/\t/evil.example.com/",
        "ftp://jux.example.com/r/7",
        "javascript:alert(1)",
        "r/7",
        "https://[::1",
        "http://[v1.a]x/",
        "",
    ],
)
def test_an_address_elsewhere_is_not_passed_on(url):
    assert page_of(API, Answer(url=url)) == ""
    assert page_of(API, Answer(id="7", url=url)) == "https://jux.example.com/reports/7"


@pytest.mark.parametrize(
    ("api", "page"),
    [
        (API, "https://jux.example.com/reports/a%2Fb%20c"),
        ("http://127.0.0.1:8000/jux/api/v1/reports?x=1#y", "http://127.0.0.1:8000/jux/reports/a%2Fb%20c"),
        ("http://[::1]:8000/api/v1/reports/", "http://[::1]:8000/reports/a%2Fb%20c"),
        ("https://jux.example.com/api/v2/upload", ""),
    ],
)
def test_the_page_by_the_apis_convention(api, page):
    assert page_of(api, Answer(id="a/b c")) == page


def test_no_page_is_known_of_a_report_without_a_name():
    assert page_of(API, Answer(canonical_hash=HASH)) == ""


_URLS = st.text() | st.lists(
    st.sampled_from(
        ["http", "https", ":", "/", "//", "\\", "@", "?", "#", "[", "]", "jux.example.com", "evil", "\t", "%2f"]
    )
).map("".join)


@given(_URLS, st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_page_is_always_at_the_apis_own_host(url, name):
    page = page_of(API, Answer(id=name, url=url))
    assert not page or urlsplit(page).netloc == "jux.example.com"
