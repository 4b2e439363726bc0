"""The gate before the parser: refuse by counting alone what would be costly or misleading to parse.

A parser's own limits do not bound its time and memory: libxml2 bounds nesting, but neither elements nor attributes.
Everything here is linear in the size of the document, also for what is not well-formed.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from pytest_jux.errors import NotAReport, ReportMalformed, ReportRefused, ReportTooLarge
from pytest_jux.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator


class Limits(NamedTuple):  # a dataclass costs every start of every command some milliseconds
    """How large a report may be before it is refused unread."""

    bytes: int = 100_000_000
    elements: int = 500_000
    attributes: int = 2_000_000
    attributes_per_element: int = 128
    namespaces_in_scope: int = 8
    depth: int = 512


DEFAULT_LIMITS = Limits()

# Encodings in which every byte below 0x80 is the ASCII character, also as part of a longer sequence where it is one of
# the characters that markup is made of; in others (UTF-16, UTF-7, ISO-2022-JP) a gate that looks at bytes is blind.
# Those in which libxml2, iconv and Java read some bytes as different characters (Shift_JIS, EUC-JP, Big5, GBK,
# windows-1255, ...) are left out: a signature would be valid for one tool and broken for another.
ENCODINGS = frozenset(
    ["utf-8", "utf8", "us-ascii", "ascii", "koi8-r", "koi8-u", "gb2312", "euc-cn", "euc-kr"]
    + [f"{family}{part}" for family in ("iso-8859-", "iso_8859-") for part in (*range(1, 10), 13, 15)]
    + ["iso-8859-11", "iso-8859-16"]
    + [f"windows-125{page}" for page in (0, 1, 2, 3, 4, 6, 7)]
)
BOM = b"\xef\xbb\xbf"
_WIDE = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"<\x00": "UTF-16",
    b"\x00<": "UTF-16",
    b"\x00\x00": "UTF-32",
    b"\x4c\x6f\xa7\x94": "EBCDIC",
}

# Patterns are compiled where they are first used: most commands need few of them, and compiling costs start-up time.
_DECLARATION = rb"<\?xml\s([^>]*?)\?>"
_VERSION = rb"""version\s*=\s*["']([^"']*)["']"""
_ENCODING = rb"""encoding\s*=\s*["']([^"']*)["']"""
_PROLOG = rb"(?s:\s|<\?.*?\?>|<!--.*?-->)*+"
_START = rb"<([^\s<>/!?]+)"
_VALUE = rb"""(?:"[^"<]*"|'[^'<]*')"""
_TAG = rb"""<[^\s<>/!?"'][^<>"']*+(?:""" + _VALUE + rb"""[^<>"']*+)*+"""
_SPECIAL = rb"<(?:!--|!\[CDATA\[|\?)"
_QUOTES = frozenset([b'"', b"'"])
_ENDS = {b"<!--": b"-->", b"<![CDATA[": b"]]>", b"<?": b"?>"}

_SIGNS = (
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%PDF", "a PDF document"),
    (b"-----BEGIN ", "a PEM file, such as a key or a certificate"),
    (b"{", "JSON"),
    (b"[", "JSON"),
    (b"TAP version", "TAP output"),
)
_ROOTS = {
    "assemblies": "an xUnit.net report (root element 'assemblies')",
    "assembly": "an xUnit.net report (root element 'assembly')",
    "test-run": "an NUnit report (root element 'test-run')",
    "test-results": "an NUnit report (root element 'test-results')",
    "testrun": "a Visual Studio TRX report (root element 'TestRun')",
    "html": "an HTML page",
    "coverage": "a coverage report (root element 'coverage')",
    "robot": "a Robot Framework output (root element 'robot')",
    "testng-results": "a TestNG report (root element 'testng-results')",
    "checkstyle": "a Checkstyle report (root element 'checkstyle')",
}


def check_gate(data: bytes, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse, by counting alone, what would be costly or misleading to parse; the errors are those of `parse`."""
    if len(data) > limits.bytes:
        raise ReportTooLarge("bytes", limits.bytes)
    _check_beginning(data)
    _check_doctype(data[:4096])
    markup = _without_long_texts(data, limits)
    _check_totals(data, markup, limits)
    _check_prolog(data)
    most = limits.namespaces_in_scope
    if sum(1 for _ in islice(re.finditer(b"xmlns", markup), most + 1)) > most:
        _check_namespaces(data, limits)


def match(pattern: bytes, data: bytes, position: int) -> re.Match[bytes] | None:
    """Match `pattern` at a position in `data`."""
    return re.compile(pattern).match(data, position)


def prolog_end(data: bytes) -> int:
    """Return where the root element begins, in a document without a DOCTYPE."""
    start = len(BOM) if data.startswith(BOM) else 0
    return match(_PROLOG, data, start).end()  # type: ignore[union-attr]  # it matches the empty string


def root_name(data: bytes) -> bytes:
    """Return the root element's name as it is written in a document that has one."""
    return match(_START, data, prolog_end(data)).group(1)  # type: ignore[union-attr]  # the caller's promise


def end_of_tag(data: bytes, start: int) -> int:
    """Return where the `>` of the well-formed start tag at `start` is."""
    return match(_TAG, data, start).end()  # type: ignore[union-attr]  # the caller's promise


def special_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where comments, CDATA sections and processing instructions begin and end, as a parser sees them.

    One without an end goes on to the end of the document.
    """
    search = re.compile(_SPECIAL).search
    opening = search(data)
    while opening is not None:
        closing = _ENDS[opening.group()]
        found = data.find(closing, opening.end())
        end = found + len(closing) if found >= 0 else len(data)
        yield opening.start(), end
        opening = search(data, end)


def check_root(name: str) -> None:
    """Raise NotAReport unless a root element of this name (without its namespace) is JUnit XML's."""
    if name in {"testsuites", "testsuite"}:
        return
    name = name[:80]
    raise NotAReport(_ROOTS.get(name.lower(), f"the root element is '{visible(name)[:80]}'"))


def _check_beginning(data: bytes) -> None:
    """Refuse what is no XML, or XML that is not read here, as far as its first bytes tell."""
    head = data[:4096].lstrip()
    if not head:
        raise NotAReport("the file is empty" if not data.strip() else "the file begins with white space only")
    for sign, found in _SIGNS:
        if head.startswith(sign):
            raise NotAReport(found)
    for sign, name in _WIDE.items():
        if data.startswith(sign):
            raise ReportRefused(f"its encoding is {name}; convert it to UTF-8")
    if not head.removeprefix(BOM).lstrip().startswith(b"<"):
        raise NotAReport("binary data" if b"\0" in head else "text that is not XML")
    _check_declaration(data)


def _check_doctype(data: bytes) -> int:
    """Refuse a document type; return where the root element begins."""
    start = prolog_end(data)
    if data[start : start + 9].upper() == b"<!DOCTYPE":
        html = data[start + 9 : start + 40].lower().lstrip().startswith(b"html")
        raise NotAReport("an HTML page") if html else ReportRefused("it has a DOCTYPE")
    return start


def _check_prolog(data: bytes) -> None:
    """Refuse a document type and any root element but JUnit XML's."""
    root = match(_START, data, _check_doctype(data))
    if root is None:
        raise NotAReport("no XML element was found")
    check_root(root.group(1).rpartition(b":")[2].decode("ascii", "replace"))


def declared_encoding(data: bytes) -> str:
    """Return the name of the encoding that a document's XML declaration gives, UTF-8 where it gives none."""
    declaration = match(_DECLARATION, data[:1024], len(BOM) if data.startswith(BOM) else 0)
    encoding = re.search(_ENCODING, declaration.group(1)) if declaration else None
    return encoding.group(1).decode("ascii", "replace") if encoding else "UTF-8"


def _check_declaration(data: bytes) -> None:
    has_bom = data.startswith(BOM)
    declaration = match(_DECLARATION, data[:1024], len(BOM) if has_bom else 0)
    if declaration is None:
        if match(rb"<\?xml\s", data, len(BOM) if has_bom else 0):
            raise ReportRefused("its XML declaration does not end within 1,024 bytes")
        return
    version = re.search(_VERSION, declaration.group(1))
    if version is not None and version.group(1) != b"1.0":
        raise ReportRefused(f"it is XML {visible(version.group(1)[:20].decode('ascii', 'replace'))}, not XML 1.0")
    encoding = re.search(_ENCODING, declaration.group(1))
    name = visible(encoding.group(1)[:40].decode("ascii", "replace")) if encoding else "UTF-8"
    if name.lower() not in ENCODINGS:
        raise ReportRefused(f"its encoding is {name}; convert it to UTF-8")
    if has_bom and name.lower() not in {"utf-8", "utf8"}:  # some tools believe the one, some the other
        raise ReportRefused(f"it begins as UTF-8 (byte order mark), but says that its encoding is {name}")


def _without_long_texts(data: bytes, limits: Limits) -> bytes:
    """Return `data` without its longer texts, in which nothing needs to be counted, and refuse crowded elements.

    An attribute takes five bytes at least (` a=""`), and a start tag ends before the next `<`. So in a stretch without
    `<` that is shorter than that there is no room for too many attributes. A longer one is a tag and text after it.
    """
    most = limits.attributes_per_element
    length = 5 * most
    match_tag = re.compile(_TAG[:-2] + b"{0,%d}+" % most).match  # stops before one value too many
    spans = special_spans(data)
    special = (-1, -1)
    parts: list[bytes] = []
    kept = 0  # where the part that is not yet in `parts` begins
    find_last, reach, last_start = data.rfind, length + 1, len(data) - length
    start = data.find(b"<")
    while -1 < start < last_start:  # the only loop over every report: each step costs
        # Hop to the last `<` within reach: those passed over are nearer to each other than `length`.
        following = find_last(b"<", start + 1, start + reach)
        if following < 0:
            following = data.find(b"<", start + length)
            tag = match_tag(data, start)
            text = start + 1 if tag is None else tag.end()
            if tag is not None and data[text : text + 1] in _QUOTES:
                full = len(re.findall(_VALUE, tag.group())) == most
                while special[1] <= start:
                    special = next(spans, (len(data), len(data) + 1))
                if full and start < special[0]:  # else it is in a comment, where markup is text
                    raise ReportTooLarge("attributes on one element", most)
            parts.append(data[kept:text])
            kept = following if following >= 0 else len(data)
        start = following
    return b"".join((*parts, data[kept:])) if parts else data


def _check_totals(data: bytes, markup: bytes, limits: Limits) -> None:
    """Bound nodes and attributes. Counting in CDATA and comments, too, is cheap and never too low."""
    nodes, attributes = limits.elements, limits.attributes
    # An element takes four bytes at least (`<a/>`), an attribute five: most reports are too small to have too many.
    openings = markup.count(b"<") if len(markup) > 4 * nodes else 0
    if openings > nodes and openings - markup.count(b"</") > nodes:
        if _count_special(data) > nodes:
            raise ReportTooLarge("comments, CDATA sections and processing instructions", nodes)
        stripped, instructions = _without_special(data)
        if instructions + stripped.count(b"<") - stripped.count(b"</") > nodes:
            raise ReportTooLarge("elements", nodes)
    if len(markup) > 5 * attributes and markup.count(b"=") > attributes:
        stripped, _ = _without_special(data)
        quotes = 0  # two for each attribute, or a few more where a value has the other kind in it
        for tag in re.finditer(_TAG, stripped):
            text = tag.group()
            quotes += text.count(b'"') + text.count(b"'")
            if quotes > 2 * attributes + 1:
                raise ReportTooLarge("attributes", attributes)


def _count_special(data: bytes) -> int:
    """Count what looks like the beginning of a comment, CDATA section or instruction; never too low."""
    return sum(data.count(opening) for opening in _ENDS)


def _without_special(data: bytes) -> tuple[bytes, int]:
    """Return the document without comments, CDATA and processing instructions, and the number of the last."""
    if not _count_special(data):
        return data, 0
    parts: list[bytes] = []
    kept = instructions = 0
    for start, end in special_spans(data):
        parts.append(data[kept:start])
        kept = end
        instructions += data.startswith(b"<?", start)
    return b"".join((*parts, data[kept:])), instructions


def _check_namespaces(data: bytes, limits: Limits) -> None:
    """Bound the namespaces in scope anywhere: canonical XML costs their square for every element."""
    from xml.parsers import expat  # noqa: PLC0415 - few reports have namespaces

    most = limits.namespaces_in_scope
    parser = expat.ParserCreate(namespace_separator=" ")
    scope = 0

    def start(_prefix: str | None, _uri: str) -> None:
        nonlocal scope
        scope += 1
        if scope > most:
            raise ReportTooLarge("namespaces in one scope", most)

    def end(_prefix: str | None) -> None:
        nonlocal scope
        scope -= 1

    parser.StartNamespaceDeclHandler = start
    parser.EndNamespaceDeclHandler = end
    try:
        parser.Parse(data, True)  # noqa: FBT003 - a positional-only flag
    except expat.ExpatError as error:
        raise ReportMalformed(expat.ErrorString(error.code), error.lineno, error.offset + 1) from None
    except (LookupError, ValueError):
        raise ReportRefused("its namespaces cannot be counted in this encoding; convert it to UTF-8") from None
