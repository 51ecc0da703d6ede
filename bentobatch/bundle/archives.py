"""This module reads archives of bundles, .tar.gz and .zip, from strangers: a plain reader that refuses what it must not do.

tarfile's extraction had its holes in every release up to Python 3.11.13 and 3.12.11, its filters included, and it reads
a member's extended header into memory whatever its size. So a tar file is read here: plain and pax headers, GNU's long
names, nothing else. zip files are read by zipfile, through a file that bounds what it reads at once.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bentobatch.bundle.unpacking import LIMITS, Limits, Unpacked
from bentobatch.errors import BundleError, NoInputError, StorageError

_BLOCK = 512
_READ = 1 << 20
_MAX_HEADER = 64 << 10
"""Bytes of one extended header; a path has 1,024 at most, the rest are times and owners."""
_MAX_DIRECTORY = 8 << 20
"""Bytes of a zip file's directory; 50,000 members have some 5 MiB."""
_ITSELF = "./"
"""The name of the archive's own top folder."""
_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device", b"4": "a block device", b"6": "a FIFO",
    b"7": "a contiguous file", b"S": "a sparse file", b"K": "a link with a long name",
}  # fmt: skip
_ZIP_KINDS = {
    stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device", stat.S_IFBLK: "a block device",
}  # fmt: skip


def unpack(archive: Path, folder: Path, *, kind: str, where: str, limits: Limits = LIMITS) -> None:
    """Unpack ``archive`` into ``folder``, which exists and is empty. ``kind`` is "tar.gz" or "zip", and is not guessed.

    Owners, times and modes in the archive are ignored. What was written before an error stays; the caller removes it.

    Raises:
        BundleError: the archive is broken, holds something else than files and folders, or is too much; ``where``
            names it in the message.
        NoInputError, StorageError: it is not there, or cannot be opened.
        OSError: the disk failed.
    """
    try:  # a FIFO must not hang the open
        handle = os.open(archive, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoInputError(f"{where}: there is no such file; give an archive or the folder of a bundle") from error
    except OSError as error:
        raise StorageError(f"{where}: the archive cannot be read: {error.strerror}; check its rights") from error
    with os.fdopen(handle, "rb", closefd=True) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{where}: it is no regular file; give an archive or the folder of a bundle")
        allowed = limits.unpacked(status.st_size)
        with Unpacked(folder, where, allowed=allowed, members=limits.members) as target:
            (_untar if kind == "tar.gz" else _unzip)(file, target)


# -- tar ----------------------------------------------------------------------------------------------------------


@dataclass
class _Member:
    name: str
    size: int
    mode: int
    kind: bytes


def _untar(file: BinaryIO, target: Unpacked) -> None:
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as stream:
            for member in _members(stream, target):
                target.count(member.name)
                _add_tarred(stream, member, target)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise _broken(target, error) from error


def _add_tarred(stream: gzip.GzipFile, member: _Member, target: Unpacked) -> None:
    name = _plain(member.name)
    is_folder = member.kind == b"5" or (member.kind in (b"0", b"\0") and name.endswith("/"))
    if member.kind not in (b"0", b"\0", b"5"):
        raise target.refusal(name, f"is {_KINDS.get(member.kind, 'of an unknown kind')}")
    if member.mode & (stat.S_ISUID if is_folder else _SPECIAL_BITS):  # a shared folder's setgid is harmless
        raise target.refusal(name, "has the setuid, setgid or sticky bit")
    content = _content(stream, member.size, target)
    if not is_folder:
        target.add_file(name, content)
        return
    for block in content:
        target.spend(len(block), name)
    if name != _ITSELF:
        target.add_folder(name.removesuffix("/"))


def _members(stream: gzip.GzipFile, target: Unpacked) -> Iterator[_Member]:
    """The members' headers; whoever takes one reads its content off the stream before the next one is asked for."""
    extended: dict[str, str] = {}
    while True:
        member = _header(_exactly(stream, _BLOCK, target), target)
        if member is None:
            return
        if member.kind in (b"x", b"g", b"L"):
            target.count(member.name)
            data = _small(stream, member, target)
            found = {"path": _text(data.rstrip(b"\0"))} if member.kind == b"L" else _pax(data, target)
            if any(key.startswith("GNU.sparse.") for key in found):
                raise target.refusal(found.get("path", member.name), "is a sparse file")
            if member.kind == b"g" and found.keys() & {"path", "size", "linkpath"}:
                raise target.refusal(member.name, "is a header that gives all members one name or size")
            extended.update(found if member.kind != b"g" else {})
            continue
        member.name = extended.get("path", member.name)
        if "size" in extended:
            member.size = _number(extended["size"].encode("utf-8", "surrogateescape"), 10, member.name, target)
        extended = {}
        yield member


def _header(block: bytes, target: Unpacked) -> _Member | None:
    """The header in 512 bytes; None for the block of zeros that ends the archive."""
    if not any(block):
        return None
    name = _text(block[:100].split(b"\0")[0])
    expected = sum(block[:148]) + 32 * 8 + sum(block[156:])
    if _octal(block[148:156], name, target) != expected:
        raise target.refusal(name, "has a header whose checksum is wrong: the archive is damaged, or no tar file")
    prefix = _text(block[345:500].split(b"\0")[0]) if block[257:263] == b"ustar\0" else ""  # GNU has other things there
    return _Member(
        name=f"{prefix}/{name}" if prefix else name,
        size=_octal(block[124:136], name, target),
        mode=_octal(block[100:108], name, target),
        kind=block[156:157],
    )


def _octal(field: bytes, name: str, target: Unpacked) -> int:
    if field[0] == 0x80:  # GNU's way with numbers of 8 GiB and more
        return int.from_bytes(field[1:], "big")
    return _number(field.split(b"\0")[0].strip() or b"0", 8, name, target)


def _number(digits: bytes, base: int, name: str, target: Unpacked) -> int:
    if len(digits) > 20 or not digits.isdigit():  # int() would take signs, underscores and blanks
        raise target.refusal(name, "has a header with a malformed number")
    try:
        return int(digits, base)
    except ValueError as error:
        raise target.refusal(name, "has a header with a malformed number") from error


def _small(stream: gzip.GzipFile, member: _Member, target: Unpacked) -> bytes:
    if member.size > _MAX_HEADER:
        raise target.refusal(member.name, f"has an extended header of more than {_MAX_HEADER:,} bytes")
    target.spend(member.size, member.name)
    return b"".join(_content(stream, member.size, target))


def _pax(data: bytes, target: Unpacked) -> dict[str, str]:
    """The records of an extended header, each one ``LENGTH KEY=VALUE\\n``."""
    found: dict[str, str] = {}
    while data:
        digits, blank, _ = data[:20].partition(b" ")
        length = int(digits) if digits.isdigit() and blank else 0
        record = data[len(digits) + 1 : length]
        key, equals, value = record[:-1].partition(b"=")
        if not len(digits) + 3 <= length <= len(data) or record[-1:] != b"\n" or not equals:
            raise BundleError(f"{target.where}: an extended header in it is malformed; the archive is damaged")
        found[_text(key)] = _text(value)
        data = data[length:]
    return found


def _content(stream: gzip.GzipFile, size: int, target: Unpacked) -> Iterator[bytes]:
    """``size`` bytes of the stream, and the padding after them."""
    left = size
    while left:
        block = stream.read(min(left, _READ))
        if not block:
            raise _cut_off(target)
        left -= len(block)
        yield block
    _exactly(stream, -size % _BLOCK, target)


def _exactly(stream: gzip.GzipFile, size: int, target: Unpacked) -> bytes:
    block = stream.read(size)  # a GzipFile gives less only at its end
    if len(block) != size:
        raise _cut_off(target)
    return block


def _cut_off(target: Unpacked) -> BundleError:
    return BundleError(f"{target.where}: the archive is cut off; fetch or copy it again")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")  # what is no UTF-8 is then refused as unprintable


def _plain(name: str) -> str:
    """The name without the "./" that ``tar -C bundle .`` puts before all names."""
    while name.startswith("./") and name != "./":
        name = name[2:]
    return _ITSELF if name in (".", "./") else name


# -- zip ----------------------------------------------------------------------------------------------------------


class _BoundedReads(io.BufferedReader):
    """A file for zipfile, which reads a zip's directory in one piece, however large that says it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory has more than {_MAX_DIRECTORY:,} bytes")
        return super().read(size)


def _unzip(file: BinaryIO, target: Unpacked) -> None:
    raw = io.FileIO(file.fileno(), closefd=False)
    try:
        with _BoundedReads(raw) as bounded, zipfile.ZipFile(bounded) as archive:
            for info in archive.infolist():
                target.count(info.orig_filename)
                _add_zipped(archive, info, target)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError) as error:
        raise _broken(target, error) from error
    except (NotImplementedError, RuntimeError, ValueError, OverflowError) as error:  # what zipfile makes of odd headers
        raise _broken(target, error) from error


def _add_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Unpacked) -> None:
    name = _plain(info.orig_filename)  # info.filename ends at a NUL
    mode = info.external_attr >> 16
    is_folder = name.endswith("/")
    if stat.S_IFMT(mode) in _ZIP_KINDS:
        raise target.refusal(name, f"is {_ZIP_KINDS[stat.S_IFMT(mode)]}")
    if mode & (stat.S_ISUID if is_folder else _SPECIAL_BITS):
        raise target.refusal(name, "has the setuid, setgid or sticky bit")
    if info.flag_bits & 0x1:
        raise target.refusal(name, "is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise target.refusal(name, "is packed by another method than deflate")
    if is_folder:
        if name != _ITSELF:
            target.add_folder(name.removesuffix("/"))
        return
    with archive.open(info) as stream:
        target.add_file(name, iter(lambda: stream.read(_READ), b""))


def _broken(target: Unpacked, error: Exception) -> BundleError:
    return BundleError(
        f"{target.where}: it cannot be read as an archive of its kind ({' '.join(str(error).split())[:200]}); fetch or "
        "copy it again"
    )
