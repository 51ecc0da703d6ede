"""This module makes small images in memory."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def picture(width=4, height=3, color=(10, 20, 30), *, mode="RGB", format="PNG", **options):
    """The bytes of an image of one colour."""
    stream = io.BytesIO()
    Image.new(mode, (width, height), color).save(stream, format=format, **options)
    return stream.getvalue()


def bomb(width=50_000, height=50_000):
    """A PNG of few bytes that claims to have so many pixels, each row of them packed away."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
