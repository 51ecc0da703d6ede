"""This module reads what surrounds the data of a request: media types, compression, character sets, multipart bodies.

Everything is bounded, and takes time in step with the body's length. RFC 9110 for media types and content codings, RFC
7578 and 2046 for multipart bodies.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from bentobatch.serving.call import Call, RequestError, too_large
from bentobatch.serving.options import ServingOptions

_TYPE = re.compile(r"\s*([A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+*-]{1,100})\s*")
_PARAMETER = re.compile(r';\s*([A-Za-z0-9!#$&^_.+*-]{1,60})=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*')
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_MOST_HEAD = 8_192
_MOST_MEMBERS = 64
_TEXT_CODECS = frozenset({"utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "ascii", "cp1252", "latin_1"})


@dataclass(frozen=True)
class MediaType:
    """Such as text/plain with ``charset``; all in lower case but the parameters' values."""

    name: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """One part of a multipart body. ``media`` is None where it does not say."""

    name: str
    media: MediaType | None
    content: bytes
    is_file: bool


@lru_cache(maxsize=256)
def media_type(header: str) -> MediaType:
    """What a Content-Type says.

    Raises:
        RequestError: 415, it is malformed.
    """
    match = _TYPE.match(header) if len(header) <= 1_000 else None
    if match is None:
        raise RequestError(415, f"the Content-Type {header[:100]!r} is malformed")
    parameters: dict[str, str] = {}
    position = match.end()
    while position < len(header):
        found = _PARAMETER.match(header, position)
        if found is None:
            raise RequestError(415, f"the Content-Type {header[:100]!r} is malformed")
        value = re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3]
        parameters.setdefault(found[1].lower(), value)
        position = found.end()
    return MediaType(match[1].lower(), MappingProxyType(parameters))


def content_of(call: Call, options: ServingOptions) -> bytes:
    """The body, inflated where it was compressed.

    Raises:
        RequestError: 413 it is too large, 415 an unknown coding, 400 it is no gzip.
    """
    if len(call.body) > options.max_body_bytes:
        raise too_large(options.max_body_bytes)
    coding = call.headers.get("content-encoding")
    if coding is None or coding.strip().lower() in ("", "identity"):
        return call.body
    if coding.strip().lower() not in ("gzip", "x-gzip"):
        raise RequestError(
            415, f"the Content-Encoding {coding[:40]!r} is not taken: gzip is", headers=(("Accept-Encoding", "gzip"),)
        )
    return _inflated(call.body, options.max_inflated_bytes)


def _inflated(data: bytes, most: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while data:
        if len(pieces) == _MOST_MEMBERS:  # each costs a copy of all that follows it
            raise RequestError(400, f"the gzip of the body has more than {_MOST_MEMBERS} members")
        stream = zlib.decompressobj(wbits=31)
        try:
            piece = stream.decompress(data, most + 1 - size)
            while not stream.eof and stream.unconsumed_tail and size + len(piece) <= most:
                piece += stream.decompress(stream.unconsumed_tail, most + 1 - size - len(piece))
        except zlib.error as error:
            raise RequestError(400, f"the body is no gzip, as its Content-Encoding says: {error}") from error
        size += len(piece)
        if size > most:
            raise RequestError(413, f"the inflated body is longer than the {most:,} bytes that are taken")
        if not stream.eof:
            raise RequestError(400, "the gzip of the body ends too early")
        pieces.append(piece)
        data = stream.unused_data
    return b"".join(pieces)


def utf8_of(content: bytes, media: MediaType) -> bytes:
    """A text's bytes in UTF-8, from the charset that it says (by default UTF-8).

    Raises:
        RequestError: 415 an unknown charset, 400 the text is not in it.
    """
    charset = media.parameters.get("charset", "utf-8")
    codec = _codec(charset)
    if codec is None:
        raise RequestError(415, f"the charset {charset[:40]!r} is not taken: utf-8 is best")
    if codec == "utf-8" and content.isascii():
        return content
    try:
        text = content.decode(codec)
        return content if codec == "utf-8" else text.encode()
    except UnicodeError as error:
        reason = error.reason if isinstance(error, (UnicodeDecodeError, UnicodeEncodeError)) else str(error)
        raise RequestError(400, f"the body is not in the charset {charset[:40]}: {reason}") from error


@lru_cache(maxsize=64)
def _codec(charset: str) -> str | None:
    """Python's name of a character set, None for what is none; some of Python's codecs inflate, or do worse."""
    try:
        name = codecs.lookup(charset).name.replace("iso8859-1", "latin_1")
    except (LookupError, ValueError):
        return None
    return name if name in _TEXT_CODECS else None


def parts_of(content: bytes, media: MediaType, most: int) -> list[Part]:
    """The parts of a multipart/form-data body.

    Raises:
        RequestError: 400, it is malformed; 413, it has more than ``most`` parts.
    """
    boundary = media.parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise RequestError(400, "the Content-Type multipart/form-data has no boundary, or a malformed one")
    mark = b"\r\n--" + boundary.encode()
    pieces = (b"\r\n" + content).split(mark, most + 2)
    if len(pieces) < 2 or len(pieces[0]) > _MOST_HEAD:
        raise RequestError(400, "the multipart body does not begin with its boundary")
    parts: list[Part] = []
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return parts
        if len(parts) == most:
            raise RequestError(413, f"the multipart body has more than the {most} parts that are taken")
        parts.append(_part(piece))
    raise RequestError(400, "the multipart body is cut off: its last boundary is missing")


def _part(piece: bytes) -> Part:
    if not piece.startswith(b"\r\n"):
        raise RequestError(400, "a boundary of the multipart body is not followed by a line's end")
    head, found, _ = piece[: _MOST_HEAD + 4].partition(b"\r\n\r\n")
    if not found:
        raise RequestError(400, "the headers of a part are malformed or too long")
    headers: dict[str, str] = {}
    for line in head[2:].decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            raise RequestError(400, "a header of a part is malformed")
        headers[name.strip().lower()] = value.strip()
    disposition = headers.get("content-disposition", "")
    kind, _, rest = disposition.partition(";")
    told = {match[1].lower(): match[2] or match[3] or "" for match in _PARAMETER.finditer(";" + rest)}
    if kind.strip().lower() != "form-data" or "name" not in told:
        raise RequestError(400, "a part has no Content-Disposition: form-data with a name")
    media = media_type(headers["content-type"]) if "content-type" in headers else None
    is_file = "filename" in told or "filename*" in told
    return Part(told["name"][:200], media, piece[len(head) + 4 :], is_file)
