"""The only way from the bytes of a report to a tree, and where in the bytes a signature goes."""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from pytest_jux.errors import JuxError, ReportMalformed, ReportRefused, ReportTooLarge
from pytest_jux.gate import (
    DEFAULT_LIMITS,
    Limits,
    check_gate,
    check_root,
    end_of_tag,
    prolog_end,
    root_name,
    special_spans,
)
from pytest_jux.text import visible

__all__ = [
    "DEFAULT_LIMITS",
    "Limits",
    "check_gate",
    "child_spans",
    "end_of_root",
    "has_inner_instruction",
    "local_name",
    "parse",
]

_PARSER_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "load_dtd": False,
    "no_network": True,
    "remove_comments": True,
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
        root = etree.fromstring(data, _parser(huge=False))
    except etree.XMLSyntaxError as error:
        if "huge" not in str(error.msg).lower():
            raise _malformed(error, limits) from None
        root = _parse_huge(data, limits)
    check_root(local_name(root))
    return root


def has_inner_instruction(root: etree._Element, data: bytes) -> bool:
    """Tell whether a processing instruction stands inside the root element that `data` was parsed to."""
    if data.find(b"?", prolog_end(data)) < 0:  # quicker than walking through the tree, and mostly enough
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
        starts, ends = [0], []
        for start, end in special_spans(data):
            ends.append(start)
            starts.append(end)
        pieces = zip(reversed(starts[:-1]), reversed(ends), strict=True)
        position = next((at for at in (data.rfind(b"</", *piece) for piece in pieces) if at >= 0), -1)
        closed = position < 0
    return (end_of_tag(data, prolog_end(data)) - 1, root_name(data)) if closed else (position, b"")


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
            close = end_of_tag(data, begin)
            if data[close - 1 : close] != b"/":  # else the start tag is all there is
                close = data.index(b">", parser.CurrentByteIndex)
            spans.append((begin, close + 1))

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


def _parse_huge(data: bytes, limits: Limits) -> etree._Element:
    """Parse what exceeds libxml2's own limits (256 levels, 10 MB of one text), and bound the nesting here."""
    try:
        root = etree.fromstring(data, _parser(huge=True))
    except etree.XMLSyntaxError as error:
        raise _malformed(error, limits) from None
    if root.xpath(f"boolean({'/*' * (limits.depth + 1)})"):
        raise ReportTooLarge("levels of nesting", limits.depth)
    return root


def _parser(*, huge: bool = True) -> etree.XMLParser:
    return etree.XMLParser(**_PARSER_OPTIONS, huge_tree=huge, collect_ids=False)


def _malformed(error: etree.XMLSyntaxError, limits: Limits) -> JuxError:
    line, column = error.position
    reason = visible(re.sub(r", line \d+, column \d+$", "", str(error.msg).strip())[:120])[:120]
    if "depth" in reason:
        return ReportTooLarge("levels of nesting", limits.depth)
    return ReportMalformed(reason, line or 0, column or 0)
