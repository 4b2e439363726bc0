"""Bytes packed by zlib (RFC 1950), quickly also where they are few."""

from __future__ import annotations

import zlib

_SHORT = 4_096  # bytes: a window of this size sees all of them
_BITS = 12
_MEMORY = 5  # of 9; zlib clears all that it takes, which costs ten times what packing a short text does


def compressed(data: bytes, level: int) -> bytes:
    """Return bytes from which `zlib.decompress` makes these again."""
    if len(data) > _SHORT:
        return zlib.compress(data, level)
    packer = zlib.compressobj(level, zlib.DEFLATED, _BITS, _MEMORY)
    return packer.compress(data) + packer.flush()
