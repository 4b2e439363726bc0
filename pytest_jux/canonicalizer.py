"""From a report's tree to its canonical form and its identity.

Identity is the SHA-256 of the Canonical XML 1.0 form (W3C xml-c14n-20010315, without comments) of the document without
its signature. It is the same for the unsigned report and for every signed copy, and it is the signature's own digest.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from lxml import etree

from pytest_jux.document import DEFAULT_LIMITS, parse
from pytest_jux.dsig import SIGNATURE
from pytest_jux.errors import ReportRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_jux.document import Limits

_XML = "{http://www.w3.org/XML/1998/namespace}"
INHERITED_1_0 = frozenset({_XML + "lang", _XML + "space", _XML + "base", _XML + "id"})
INHERITED_1_1 = INHERITED_1_0 - {_XML + "id"}
_SMALL = 1_000_000  # bytes
_NO_CANONICAL_FORM = "it uses a relative namespace name, for which canonical XML is not defined"


def canonical_hash(data: bytes, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return `sha256:<64 hex>`, the identity of the report in `data`, signed or not; raises as `document.parse`."""
    return identity(canonical_digest(without_signatures(parse(data, limits)), len(data)))


def identity(digest: bytes) -> str:
    """Return `sha256:<64 hex>` for the SHA-256 digest of a canonical form."""
    return f"sha256:{digest.hex()}"


def canonical_digest(root: etree._Element, size: int, algorithm: str = "sha256", *, exclusive: bool = False) -> bytes:
    """Return the digest of `canonical_form(root)`; `algorithm` is hashlib's name.

    `size` is that of the document in bytes. The canonical form of a large one is never in memory as a whole.

    Raises:
        ReportRefused: as `canonical_form`.
    """
    digest = hashlib.new(algorithm, usedforsecurity=True)
    if size <= _SMALL:  # quicker, as long as memory is no matter
        digest.update(canonical_form(root, exclusive=exclusive))
        return digest.digest()
    tree: Any = root.getroottree()  # the type stubs know neither of the arguments
    try:
        tree.write_c14n(_Sink(digest.update), exclusive=exclusive, with_comments=False)
    except etree.C14NError:
        raise ReportRefused(_NO_CANONICAL_FORM) from None
    return digest.digest()


class _Sink:
    """A file that hands what is written to it to a function."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.write = write


def canonical_form(root: etree._Element, *, exclusive: bool = False) -> bytes:
    """Return the canonical form of the whole document that `root` is the root of, without comments.

    With `exclusive`, by Exclusive XML Canonicalization 1.0 (W3C xml-exc-c14n), else by Canonical XML 1.0. Canonical
    XML 1.1 differs from 1.0 only for parts of documents, so it is the same here.

    Raises:
        ReportRefused: the document has no canonical form, because it uses a relative namespace name.
    """
    try:
        return etree.tostring(root.getroottree(), method="c14n", exclusive=exclusive, with_comments=False)
    except etree.C14NError:
        raise ReportRefused(_NO_CANONICAL_FORM) from None


def canonical_subtree(element: etree._Element, *, inherited: frozenset[str] | None) -> bytes:
    """Return the canonical form of `element` as it stands in its document, without comments.

    `inherited` None means exclusive canonicalization. Else it names the attributes of the `xml` namespace that an
    inclusive one carries over from ancestors (INHERITED_1_0 or INHERITED_1_1), besides all namespaces in scope.
    libxml2 would look for both in ancestors that lxml does not show it, so they are put on a copy.
    """
    try:
        if inherited is None:
            return etree.tostring(element, method="c14n", exclusive=True, with_comments=False, with_tail=False)
        return etree.tostring(_with_inherited(element, inherited), method="c14n", with_comments=False)
    except etree.C14NError:
        raise ReportRefused(_NO_CANONICAL_FORM) from None


def _with_inherited(element: etree._Element, inherited: frozenset[str]) -> etree._Element:
    scope: Any = {prefix: uri for prefix, uri in element.nsmap.items() if prefix != "xml"}
    copy = etree.Element(element.tag, nsmap=scope)
    for ancestor in [*element.iterancestors()][::-1]:
        copy.attrib.update({name: value for name, value in ancestor.attrib.items() if name in inherited})
    copy.attrib.update(element.attrib)
    copy.text = element.text
    copy.extend(deepcopy(child) for child in element)
    return copy


def signatures(root: etree._Element) -> list[etree._Element]:
    """Return the `ds:Signature` elements that are direct children of the root."""
    return root.findall(SIGNATURE)


def without_signatures(root: etree._Element) -> etree._Element:
    """Take every signature that is a direct child of the root out of the tree and return the root."""
    pieces: list[str] = []
    for child in reversed(root):  # in one pass: a hostile report may have any number of them
        if child.tag != SIGNATURE:
            _append_text(child, pieces)
            continue
        pieces.append(child.tail or "")
        child.tail = None
        root.remove(child)
    if pieces:
        root.text = (root.text or "") + "".join(reversed(pieces))
    return root


def _append_text(element: etree._Element, pieces: list[str]) -> None:
    """Put the texts that stood behind removed elements, last first, behind the element before them."""
    if pieces:
        element.tail = (element.tail or "") + "".join(reversed(pieces))
        pieces.clear()


def detach(element: etree._Element) -> None:
    """Take `element` out of its tree, leaving the text behind it where it is."""
    parent = element.getparent()
    if parent is None:
        return
    if element.tail:
        before = element.getprevious()
        if before is None:
            parent.text = (parent.text or "") + element.tail
        else:
            before.tail = (before.tail or "") + element.tail
        element.tail = None
    parent.remove(element)
