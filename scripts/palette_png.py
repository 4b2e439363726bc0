"""Pictures of a browser, made small: PNG with the 256 colours that are there most often (PNG specification, 2003)."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = 256
_RED_GREEN_BLUE = (8, 2)  # bits of a sample, and the colour type; what Chromium writes of a page without holes
_PIXEL = 3  # bytes

_Colour = tuple[int, int, int]


def shrink(data: bytes) -> bytes:
    """Return a picture with a palette; a colour that is rarer than 256 others becomes the nearest of these.

    Raises:
        ValueError: it is no PNG with 8 bits each of red, green and blue.
    """
    width, height, rows = _read(data)
    times: Counter[_Colour] = Counter()
    pixels = [list(zip(row[0::_PIXEL], row[1::_PIXEL], row[2::_PIXEL], strict=True)) for row in rows]
    for row in pixels:
        times.update(row)
    palette = [colour for colour, _ in times.most_common(_COLOURS)]
    numbers = {colour: _nearest(palette, colour) for colour in times}
    # No filters: rows of a page are alike as they are, and palettes have no neighbours to differ little from.
    lines = b"".join(b"\0" + bytes(map(numbers.__getitem__, row)) for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = b"".join(map(bytes, palette))
    parts = ((b"IHDR", head), (b"PLTE", colours), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def _nearest(palette: list[_Colour], colour: _Colour) -> int:
    distances = [sum((a - b) ** 2 for a, b in zip(one, colour, strict=True)) for one in palette]
    return distances.index(min(distances))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += size + 12


def _read(data: bytes) -> tuple[int, int, list[bytearray]]:
    """Return width and height in pixels, and the bytes of each row without their filters."""
    if not data.startswith(_SIGNATURE):
        raise ValueError("not a PNG file")
    chunks = list(_chunks(data))
    width, height, *kind, _, _, is_interlaced = struct.unpack(">IIBBBBB", dict(chunks)[b"IHDR"])
    if tuple(kind) != _RED_GREEN_BLUE or is_interlaced:
        raise ValueError("not a PNG file with 8 bits each of red, green and blue")
    raw = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    rows, size, above = [], width * _PIXEL, bytearray(width * _PIXEL)
    for at in range(0, height * (size + 1), size + 1):
        above = _unfilter(raw[at], bytearray(raw[at + 1 : at + 1 + size]), above)
        rows.append(above)
    return width, height, rows


def _unfilter(kind: int, row: bytearray, above: bytearray) -> bytearray:
    for at in range(len(row) if kind else 0):
        left, corner = (row[at - _PIXEL], above[at - _PIXEL]) if at >= _PIXEL else (0, 0)
        row[at] = (row[at] + _predicted(kind, left, above[at], corner)) & 255
    return row


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    """Return what a filter, 1 to 4, expects a byte to be (section 9 of the specification)."""
    if kind == 1:
        return left
    if kind == 2:  # noqa: PLR2004 - the number of the filter "Up"
        return up
    if kind == 3:  # noqa: PLR2004 - "Average"
        return (left + up) // 2
    estimate = left + up - corner
    return min((left, up, corner), key=lambda byte: abs(estimate - byte))
