"""The only way from the bytes of a report to a tree.

A report may be hostile. A gate that only counts bytes stands before the parser, because a parser's own limits do not
bound its time and memory.
"""

from __future__ import annotations

import io
import re
from typing import Any, NamedTuple

from lxml import etree

from pytest_jux.errors import JuxError, NotAReport, ReportMalformed, ReportRefused, ReportTooLarge


class Limits(NamedTuple):  # a dataclass costs every start of every command some milliseconds
    """How large a report may be before it is refused unread. Nesting is bounded by libxml2 itself, at 2,048 levels."""

    bytes: int = 100_000_000
    elements: int = 2_000_000
    attributes: int = 4_000_000
    attributes_per_element: int = 64
    namespaces_in_scope: int = 16


DEFAULT_LIMITS = Limits()

# Encodings in which every byte below 0x80 is the ASCII character, also as part of a longer sequence where it is one of
# the characters that markup is made of; in others (UTF-16, UTF-7, ISO-2022-JP) a gate that looks at bytes is blind.
# Those in which libxml2, iconv and Java read some bytes as different characters (Shift_JIS, EUC-JP, Big5, GBK,
# windows-1255, ...) are left out: a signature would be valid for one tool and broken for another.
_ENCODINGS = frozenset(
    ["utf-8", "utf8", "us-ascii", "ascii", "koi8-r", "koi8-u", "gb2312", "euc-cn", "euc-kr"]
    + [f"{family}{part}" for family in ("iso-8859-", "iso_8859-") for part in (*range(1, 10), 13, 15)]
    + ["iso-8859-11", "iso-8859-16"]
    + [f"windows-125{page}" for page in (0, 1, 2, 3, 4, 6, 7)]
)
_BOM = b"\xef\xbb\xbf"
_WIDE = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"<\x00": "UTF-16",
    b"\x00<": "UTF-16",
    b"\x00\x00": "UTF-32",
    b"\x4c\x6f": "EBCDIC",
}

# Patterns are compiled where they are first used: most commands need few of them, and compiling costs start-up time.
_DECLARATION = rb"<\?xml\s([^>]*?)\?>"
_VERSION = rb"""version\s*=\s*["']([^"']*)["']"""
_ENCODING = rb"""encoding\s*=\s*["']([^"']*)["']"""
_PROLOG = rb"(?s:\s|<\?.*?\?>|<!--.*?-->)*+"
_START = rb"<([^\s<>/!?]+)"
_NOT_MARKUP = rb"(?s:<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>)"
_TAG = rb"""<[^\s<>/!?"'][^<>"']*+(?:"[^"<]*"[^<>"']*+|'[^'<]*'[^<>"']*+)*+"""
_TOKEN = _NOT_MARKUP + rb"|(?P<end></)"
_ASSIGNMENT = rb"""=\s*["']"""

_PARSER_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "load_dtd": False,
    "no_network": True,
    "huge_tree": True,
    "remove_comments": True,
}

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


def parse(data: bytes, limits: Limits = DEFAULT_LIMITS) -> etree._Element:
    """Return the root element of a JUnit XML report, comments dropped and nothing else changed.

    Args:
        data: the whole report, as it is in the file.
        limits: refuse what is larger before a tree is built.

    Raises:
        NotAReport: it is something else; the error names what.
        ReportMalformed: it is not well-formed XML 1.0.
        ReportRefused: it has a DOCTYPE, or an encoding in which signatures cannot be inserted safely.
        ReportTooLarge: it exceeds a limit.
    """
    check_gate(data, limits)
    try:
        root = etree.fromstring(data, _parser())
    except etree.XMLSyntaxError as error:
        raise _malformed(error) from None
    _check_root(local_name(root))
    return root


def check_gate(data: bytes, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse, by counting alone, what would be costly or misleading to parse; the errors are those of `parse`."""
    if len(data) > limits.bytes:
        raise ReportTooLarge("bytes", limits.bytes)
    start = _check_beginning(data)
    root = _match(_START, data, start)
    if root is None:
        raise NotAReport("no XML element was found")
    _check_root(root.group(1).rpartition(b":")[2].decode("ascii", "replace"))
    markup = _without_long_texts(data, limits)
    _check_totals(data, markup, limits)
    if markup.count(b"xmlns") > limits.namespaces_in_scope:
        _check_namespaces(data, limits)


def read_limited(stream: io.BufferedIOBase, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return all that `stream` holds; raises ReportTooLarge before more than the limit is in memory."""
    data = stream.read(limits.bytes + 1)
    if len(data) > limits.bytes:
        raise ReportTooLarge("bytes", limits.bytes)
    return data


def has_inner_instruction(root: etree._Element, data: bytes) -> bool:
    """Tell whether a processing instruction stands inside the root element that `data` was parsed to."""
    if data.find(b"?", _prolog_end(data)) < 0:  # quicker than walking through the tree, and mostly enough
        return False
    return next(root.iter(etree.ProcessingInstruction), None) is not None


def end_of_root(data: bytes) -> tuple[int, bytes]:
    """Return where the root's end tag begins and b"", or, for a self-closed root, where its `/>` begins and its name.

    `data` is a report that `parse` accepts. Only the last tag of the document can be meant, but comments and
    processing instructions after it may contain what looks like one, so those are passed over as a parser does.
    """
    position = data.rfind(b"<")
    tail = data[position:].rstrip()
    closed = not tail.startswith(b"</")
    if tail[1:2] in {b"!", b"?"} or tail.endswith((b"-->", b"?>")):
        ends = (match.start() for match in re.finditer(_TOKEN, data) if match.lastgroup == "end")
        position = max(ends, default=-1)
        closed = position < 0
    if not closed:
        return position, b""
    start = _prolog_end(data)
    position = _match(_TAG, data, start).end() - 1  # type: ignore[union-attr]  # what parse accepts has a root
    return position, _match(_START, data, start).group(1)  # type: ignore[union-attr]  # as above


def child_spans(data: bytes, namespace: str, name: str) -> list[tuple[int, int]]:
    """Return where in the bytes of a report that `parse` accepts the root's children of this name begin and end.

    Raises:
        ReportRefused: the report's encoding is one whose positions cannot be told.
    """
    from xml.parsers import expat  # noqa: PLC0415 - only replacing a signature needs it

    parser = expat.ParserCreate(namespace_separator=" ")
    spans: list[tuple[int, int]] = []
    starts: list[int] = []

    def start(_tag: str, _attributes: dict[str, str]) -> None:
        starts.append(parser.CurrentByteIndex)

    def end(tag: str) -> None:
        begin = starts.pop()
        if len(starts) == 1 and tag == f"{namespace} {name}":
            last = parser.CurrentByteIndex
            if last == begin:  # a self-closed element ends where its only tag does
                last = _match(_TAG, data, begin).end()  # type: ignore[union-attr]  # expat saw a tag there
            spans.append((begin, data.index(b">", last) + 1))

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(data, True)  # noqa: FBT003 - a positional-only flag
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise ReportRefused(f"its signature cannot be located in this encoding ({error})") from None
    return spans


def local_name(element: etree._Element) -> str:
    """Return the element's name without its namespace; "" for a comment or a processing instruction."""
    tag: object = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


# --- the gate --------------------------------------------------------------------------------------------------------


def _match(pattern: bytes, data: bytes, position: int) -> re.Match[bytes] | None:
    return re.compile(pattern).match(data, position)


def _parser() -> etree.XMLParser:
    return etree.XMLParser(**_PARSER_OPTIONS, collect_ids=False)


def _prolog_end(data: bytes) -> int:
    """Where the root element begins, in a document without a DOCTYPE."""
    start = len(_BOM) if data.startswith(_BOM) else 0
    return _match(_PROLOG, data, start).end()  # type: ignore[union-attr]  # it matches the empty string


def _malformed(error: etree.XMLSyntaxError) -> JuxError:
    line, column = error.position
    reason = re.sub(r", line \d+, column \d+$", "", str(error.msg))
    if "depth" in reason:
        return ReportTooLarge("levels of nesting", 2048)
    return ReportMalformed(reason, line or 0, column or 0)


def _check_root(name: str) -> None:
    if name in {"testsuites", "testsuite"}:
        return
    raise NotAReport(_ROOTS.get(name.lower(), f"the root element is {name[:80]!r}"))


def _check_beginning(data: bytes) -> int:
    """Refuse what is no XML, or XML that is not read here; return where the root element begins."""
    head = data[:4096].lstrip()
    if not head:
        raise NotAReport("the file is empty" if not data.strip() else "the file begins with white space only")
    for sign, found in _SIGNS:
        if head.startswith(sign):
            raise NotAReport(found)
    for sign, name in _WIDE.items():
        if data.startswith(sign):
            raise ReportRefused(f"its encoding is {name}; convert it to UTF-8")
    if not head.removeprefix(_BOM).lstrip().startswith(b"<"):
        raise NotAReport("binary data" if b"\0" in head else "text that is not XML")
    _check_declaration(data)
    start = _prolog_end(data)
    if data[start : start + 9].upper() == b"<!DOCTYPE":
        html = data[start + 9 : start + 40].split()[:1] == [b"html"]
        raise NotAReport("an HTML page") if html else ReportRefused("it has a DOCTYPE")
    return start


def _check_declaration(data: bytes) -> None:
    declaration = _match(_DECLARATION, data, len(_BOM) if data.startswith(_BOM) else 0)
    if declaration is None:
        return
    version = re.search(_VERSION, declaration.group(1))
    if version is not None and version.group(1) != b"1.0":
        raise ReportRefused(f"it is XML {version.group(1).decode('ascii', 'replace')[:20]}, not XML 1.0")
    encoding = re.search(_ENCODING, declaration.group(1))
    name = encoding.group(1).decode("ascii", "replace")[:40] if encoding else "UTF-8"
    if name.lower() not in _ENCODINGS:
        raise ReportRefused(f"its encoding is {name}; convert it to UTF-8")


def _without_long_texts(data: bytes, limits: Limits) -> bytes:
    """Return `data` without its longer texts, in which nothing needs to be counted, and refuse crowded elements.

    An attribute takes five bytes at least (` a=""`), and a start tag ends before the next `<`. So in a stretch without
    `<` that is shorter than that there is no room for too many attributes. A longer one is a tag and text after it.
    """
    most = limits.attributes_per_element
    length = 5 * most
    match_tag = re.compile(_TAG).match
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
            if text - start >= length and len(re.findall(_ASSIGNMENT, data[start:text])) > most:
                raise ReportTooLarge("attributes on one element", most)
            parts.append(data[kept:text])
            kept = following if following >= 0 else len(data)
        start = following
    return b"".join((*parts, data[kept:])) if parts else data


def _check_totals(data: bytes, markup: bytes, limits: Limits) -> None:
    """Bound elements and attributes. Counting in CDATA and comments, too, is cheap and never too low."""
    elements, attributes = limits.elements, limits.attributes
    # An element takes four bytes at least (`<a/>`), an attribute five: most reports are too small to have too many.
    if len(markup) > 4 * elements and markup.count(b"<") > elements:
        exact = re.sub(_NOT_MARKUP, b"", data)
        if exact.count(b"<") - exact.count(b"</") > elements:
            raise ReportTooLarge("elements", elements)
    if len(markup) > 5 * attributes and markup.count(b"=") > attributes:
        tags = re.finditer(_TAG, re.sub(_NOT_MARKUP, b"", data))
        total = 0
        for tag in tags:
            total += len(re.findall(_ASSIGNMENT, tag.group()))
            if total > attributes:
                raise ReportTooLarge("attributes", attributes)


def _check_namespaces(data: bytes, limits: Limits) -> None:
    """Bound the namespaces in scope anywhere: canonical XML costs their square for every element."""
    scope = 0
    events = etree.iterparse(io.BytesIO(data), events=("start-ns", "end-ns"), **_PARSER_OPTIONS)
    try:
        for event, _ in events:
            scope += 1 if event == "start-ns" else -1
            if scope > limits.namespaces_in_scope:
                raise ReportTooLarge("namespaces in one scope", limits.namespaces_in_scope)
    except etree.XMLSyntaxError as error:
        raise _malformed(error) from None
