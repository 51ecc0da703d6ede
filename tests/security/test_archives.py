"""This module tests that archives cannot write outside of their folder, nor cost more than they may (S14).

It must hold on Python 3.11.7, whose tarfile has known holes. Each hostile archive also has members that are fine, before
and after, and a sound bundle: none of it may stay.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bentobatch.bundle import archives
from bentobatch.bundle.archives import unpack
from bentobatch.bundle.unpacking import Limits
from bentobatch.cli.main import main
from bentobatch.errors import BundleError
from bentobatch.repository.local import resolve
from tests.bundle.services import save_service


def member(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"evil", **fields: Any
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data) if kind in (tarfile.REGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE) else 0
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data if info.size else b""


Members = list[tuple[tarfile.TarInfo, bytes]]
LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE

TARS: dict[str, tuple[Callable[[Path], Members], str]] = {
    "parent": (lambda out: [member(f"../{out.name}/evil")], "leads out of its folder"),
    "parent inside": (lambda out: [member(f"a/../../{out.name}/evil")], "leads out of its folder"),
    "parent at the end": (lambda out: [member("a/..", tarfile.DIRTYPE)], "leads out of its folder"),
    "absolute": (lambda out: [member(f"{out}/evil")], "is an absolute path"),
    "absolute twice": (lambda out: [member(f"/{out}/evil")], "is an absolute path"),
    "backslash": (lambda out: [member(f"..\\{out.name}\\evil")], "leads out of its folder"),
    "drive": (lambda out: [member("C:evil")], "is an absolute path"),
    "device name": (lambda out: [member("sub/aux.txt")], "is the name of a device"),
    "link and file through it": (
        lambda out: [member("sub", LINK, linkname=str(out)), member("sub/evil")],
        "is a symbolic link",
    ),
    "link inside": (lambda out: [member("link", LINK, linkname="bentoml.yml")], "is a symbolic link"),
    "link chain": (
        lambda out: [member(f"l{i}", LINK, linkname=f"l{i + 1}") for i in range(9)] + [member("l9", LINK, linkname="..")],
        "is a symbolic link",
    ),
    "hard link out": (lambda out: [member("evil", HARD, linkname=f"{out}/kept")], "is a hard link"),
    "long link": (lambda out: [member("x" * 120, LINK, linkname="y" * 200)], r"is a (symbolic link|link with a long name)"),
    "character device": (lambda out: [member("null", tarfile.CHRTYPE, devmajor=1, devminor=3)], "is a character device"),
    "block device": (lambda out: [member("disk", tarfile.BLKTYPE, devmajor=8)], "is a block device"),
    "fifo": (lambda out: [member("pipe", tarfile.FIFOTYPE)], "is a FIFO"),
    "sparse": (lambda out: [member("sparse", tarfile.GNUTYPE_SPARSE)], "is a sparse file"),
    "unknown kind": (lambda out: [member("odd", b"Z")], "is of an unknown kind"),
    "setuid": (lambda out: [member("root", mode=0o4755)], "has the setuid, setgid or sticky bit"),
    "setgid": (lambda out: [member("group", mode=0o2755)], "has the setuid, setgid or sticky bit"),
    "255 times": (lambda out: [member("same", data=b"%d" % i) for i in range(255)], "stands there twice"),
    "case": (lambda out: [member("sub/Readme"), member("SUB/readme")], "differs from 'sub' in case"),
    "accents": (lambda out: [member("caf\u00e9"), member("cafe\u0301")], "in case or accents only"),
    "file and folder": (lambda out: [member("sub"), member("sub/evil")], "is a file and a folder at once"),
    "chain to PATH_MAX": (lambda out: [member("/".join(["d" * 200] * 21))], "longer than 1024 bytes"),
    "deep chain": (lambda out: [member("/".join("d" * 500) + "/evil")], "folders inside each other"),
    "long part": (lambda out: [member("n" * 256)], "longer than 255 bytes"),
    "newline": (lambda out: [member("a\nb")], "cannot be printed"),
    "no name": (lambda out: [member("")], "is empty"),
    "pax name": (lambda out: [member("fine", pax_headers={"path": f"../{out.name}/evil"})], "leads out of its folder"),
    "pax NUL": (lambda out: [member("fine", pax_headers={"path": "fine\0/../evil"})], "leads out|cannot be printed"),
}  # fmt: skip


def tar_of(members: Members, bundle: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.add(bundle, ".")
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
        archive.addfile(*_stream(member("after.txt")))
    return path


def _stream(pair: tuple[tarfile.TarInfo, bytes]) -> tuple[tarfile.TarInfo, io.BytesIO]:
    return pair[0], io.BytesIO(pair[1])


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that no archive may touch, with a file in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "kept").write_text("kept")
    return folder


def everything(tmp_path: Path) -> set[str]:
    return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} - {
        "home",
        "home/cache",
        "home/cache/bundles",
    }


def refused(archive: Path, message: str, tmp_path: Path, outside: Path) -> None:
    before = everything(tmp_path)
    with pytest.raises(BundleError, match=message) as caught:
        resolve(str(archive))
    assert "\n" not in str(caught.value)
    assert everything(tmp_path) == before  # neither outside, nor in the cache, nor beside it
    assert (outside / "kept").read_text() == "kept"
    assert not Path("/evil").exists()


@pytest.mark.parametrize("case", TARS)
def test_a_hostile_tar_archive_is_refused_by_its_members_name(case: str, tmp_path: Path, outside: Path) -> None:
    """S14: nothing of it stays, and nothing outside is read, written or removed."""
    make, message = TARS[case]
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    refused(tar_of(make(outside), bundle, tmp_path / "x.tar.gz"), message, tmp_path, outside)


def test_the_command_line_says_it_in_one_line(tmp_path: Path, outside: Path, capfd: Any) -> None:
    """Exit 65."""
    archive = tar_of([member("../evil")], save_service(tmp_path / "p", tmp_path / "b"), tmp_path / "x.tar.gz")
    assert main(["run", str(archive), "--input", "1"]) == 65
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "'../evil' leads out of its folder" in err


def raw_header(name: bytes, size: bytes, kind: bytes = b"0", **fields: bytes) -> bytes:
    """A header as tarfile would not write it, with a checksum that fits."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:107] = b"0000644"
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    for start, value in fields.items():
        block[int(start[1:]) : int(start[1:]) + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


ENDLESS = b"\x80" + b"\xff" * 11


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (raw_header(b"x", b"00000000004") + b"evil".ljust(512, b"\0"), "cut off"),
        (raw_header(b"x", ENDLESS) + b"x" * 5_000, "cut off"),
        (raw_header(b"x", b"\xff" * 12), "malformed number"),
        (raw_header(b"x", b"-0000000004"), "malformed number"),
        (raw_header(b"x", b"0000000000_4"), "malformed number"),
        (raw_header(b"x", b"99999999999"), "malformed number"),
        (raw_header(b"x", b"00000000000").replace(b"x", b"y", 1), "checksum is wrong"),
        (raw_header(b"x", ENDLESS, b"x"), "extended header of more than"),
        (raw_header(b"x", ENDLESS, b"L"), "extended header of more than"),
        (raw_header(b"x", b"00000000010", b"x") + b"5 a=b\nxx".ljust(512, b"\0"), "malformed"),
        (raw_header(b"x", b"00000000010", b"x") + b"99999 =\n".ljust(512, b"\0"), "malformed"),
        (raw_header(b"x", b"00000000010", b"x") + b"0 a=bbb\n".ljust(512, b"\0"), "malformed"),
        (
            raw_header(b"x", b"00000000013", b"x") + b"11 path=..\n".ljust(512, b"\0") + raw_header(b"f", b"0"),
            "leads out",
        ),
        (raw_header(b"x", b"00000000013", b"g") + b"11 path=ab\n".ljust(512, b"\0"), "gives all members"),
        (raw_header(b"x", b"00000000034", b"x") + b"28 GNU.sparse.realsize=1000\n".ljust(512, b"\0"), "sparse"),
        (raw_header(b"evil", b"0", _345=b".."), "leads out"),
        (raw_header(b"\xff\xfe", b"0"), "cannot be printed"),
        (b"\x01" * 512, "malformed number|checksum"),
        (b"", "cut off"),
    ],
)
def test_a_malformed_tar_header_is_an_error_of_ours(data: bytes, message: str, tmp_path: Path, outside: Path) -> None:
    """Sizes without end, negative ones, records that overlap, headers that mean all members."""
    (tmp_path / "x.tgz").write_bytes(gzip.compress(data))
    refused(tmp_path / "x.tgz", message, tmp_path, outside)


ZIPS: dict[str, tuple[Callable[[Path], list[tuple[str, int, bytes]]], str]] = {
    "parent": (lambda out: [(f"../{out.name}/evil", 0, b"evil")], "leads out of its folder"),
    "absolute": (lambda out: [(f"{out}/evil", 0, b"evil")], "is an absolute path"),
    "backslash": (lambda out: [(f"..\\{out.name}\\evil", 0, b"evil")], "leads out of its folder"),
    "drive": (lambda out: [("C:/evil", 0, b"evil")], "is an absolute path"),
    "link and file through it": (
        lambda out: [("sub", stat.S_IFLNK | 0o777, os.fsencode(out)), ("sub/evil", 0, b"evil")], "is a symbolic link",
    ),
    "fifo": (lambda out: [("pipe", stat.S_IFIFO | 0o644, b"")], "is a FIFO"),
    "device": (lambda out: [("null", stat.S_IFCHR | 0o644, b"")], "is a character device"),
    "setuid": (lambda out: [("root", stat.S_IFREG | 0o4755, b"x")], "has the setuid"),
    "255 times": (lambda out: [("same", 0, b"x")] * 255, "stands there twice"),
    "case": (lambda out: [("sub/Readme", 0, b"x"), ("SUB/readme", 0, b"x")], "differs from 'sub' in case"),
    "file and folder": (lambda out: [("sub", 0, b"x"), ("sub/evil", 0, b"evil")], "is a file and a folder at once"),
    "chain to PATH_MAX": (lambda out: [("/".join(["d" * 200] * 21), 0, b"evil")], "longer than 1024 bytes"),
    "device name": (lambda out: [("CON", 0, b"x")], "is the name of a device"),
}  # fmt: skip


def zip_of(members: list[tuple[str, int, bytes]], bundle: Path, path: Path) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of names that stand there twice
        for file in sorted(bundle.rglob("*")):
            archive.write(file, file.relative_to(bundle).as_posix())
        for name, mode, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.create_system = 3
            archive.writestr(info, data)
        archive.writestr("after.txt", "x")
    return path


@pytest.mark.parametrize("case", ZIPS)
def test_a_hostile_zip_archive_is_refused_by_its_members_name(case: str, tmp_path: Path, outside: Path) -> None:
    """S14's twins."""
    make, message = ZIPS[case]
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    refused(zip_of(make(outside), bundle, tmp_path / "x.zip"), message, tmp_path, outside)


def test_a_nul_in_a_zips_name_does_not_cut_it(tmp_path: Path, outside: Path) -> None:
    """zipfile itself would take "bentoml.yml" for "bentoml.yml\\0.png"."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    path = zip_of([("evilXfile", 0, b"x")], bundle, tmp_path / "x.zip")
    path.write_bytes(path.read_bytes().replace(b"evilXfile", b"evil\0file"))
    refused(path, "cannot be printed", tmp_path, outside)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [(8, struct.pack("<H", 1), "is encrypted"), (10, struct.pack("<H", 12), "packed by another method")],
)
def test_a_zip_member_that_is_encrypted_or_packed_otherwise_is_refused(
    offset: int, value: bytes, message: str, tmp_path: Path, outside: Path
) -> None:
    """By what the archive's directory says of it."""
    path = zip_of([], save_service(tmp_path / "p", tmp_path / "b"), tmp_path / "x.zip")
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + offset : place + offset + 2] = value
    path.write_bytes(data)
    refused(path, message, tmp_path, outside)


def test_a_zip_whose_two_directories_disagree_is_refused(tmp_path: Path, outside: Path) -> None:
    """The name in front of a member must be that of the directory at the end."""
    path = zip_of([("fine", 0, b"x")], save_service(tmp_path / "p", tmp_path / "b"), tmp_path / "x.zip")
    path.write_bytes(path.read_bytes().replace(b"fine", b"evil", 1))
    refused(path, "cannot be read as an archive of its kind", tmp_path, outside)


# -- what they cost -----------------------------------------------------------------------------------------------

SMALL = Limits(bytes=1 << 20, ratio=10, free=1 << 16, members=20)


def many(kind: str, path: Path, count: int, size: int) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(count):
                archive.writestr(f"f{number}", bytes(size))
    else:
        with tarfile.open(path, "w:gz") as archive:
            for number in range(count):
                info = tarfile.TarInfo(f"f{number}")
                info.size = size
                archive.addfile(info, io.BytesIO(bytes(size)))
    return path


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize(
    ("count", "size", "limits", "message"),
    [
        (21, 1, SMALL, "more than 20 members"),
        (1, (1 << 16) + 1, SMALL, "unpacks to more than 65,536 bytes"),
        (20, 1 << 13, SMALL, "unpacks to more than 65,536 bytes"),
        (2, 1 << 20, Limits(bytes=1 << 20, ratio=1 << 20), "unpacks to more than 1,048,576 bytes"),
    ],
)
def test_a_bomb_stops_at_the_bound(
    kind: str, count: int, size: int, limits: Limits, message: str, tmp_path: Path
) -> None:
    """On the number of members, on all bytes together, and on how many times its own size it unpacks to."""
    archive = many(kind, tmp_path / f"x.{kind}", count, size)
    (tmp_path / "out").mkdir()
    with pytest.raises(BundleError, match=message):
        unpack(archive, tmp_path / "out", kind=kind, where="bundle x", limits=limits)
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert written <= limits.unpacked(archive.stat().st_size)
    assert len(list((tmp_path / "out").iterdir())) <= limits.members


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_what_stays_below_the_bounds_is_unpacked(kind: str, tmp_path: Path) -> None:
    """The bounds themselves are allowed."""
    archive = many(kind, tmp_path / f"x.{kind}", 16, 1 << 12)
    (tmp_path / "out").mkdir()
    unpack(archive, tmp_path / "out", kind=kind, where="bundle x", limits=SMALL)
    assert len(list((tmp_path / "out").iterdir())) == 16


def test_headers_without_members_are_counted_too(tmp_path: Path) -> None:
    """An archive of extended headers alone would be read for hours."""
    data = (raw_header(b"x", b"00000000006", b"x") + b"6 a=b\n".ljust(512, b"\0")) * 100
    (tmp_path / "x.tgz").write_bytes(gzip.compress(data))
    (tmp_path / "out").mkdir()
    with pytest.raises(BundleError, match="more than 20 members"):
        unpack(tmp_path / "x.tgz", tmp_path / "out", kind="tar.gz", where="bundle x", limits=SMALL)


def test_a_zips_directory_is_bounded_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """zipfile reads it in one piece and makes an object of each entry, before anybody can count."""
    archive = many("zip", tmp_path / "x.zip", 500, 1)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(archives, "_MAX_DIRECTORY", 1 << 14)
    with pytest.raises(BundleError, match="directory has more than 16,384 bytes"):
        unpack(archive, tmp_path / "out", kind="zip", where="bundle x")


def test_modes_owners_and_times_of_an_archive_are_ignored(tmp_path: Path) -> None:
    """A file that everybody may write, or nobody may read, is an ordinary one here."""
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        for name, mode in (("open", 0o777), ("shut", 0o000)):
            archive.addfile(*_stream(member(name, mode=mode, uid=0, gid=0)))
        archive.addfile(member("shared", tarfile.DIRTYPE, mode=0o2777)[0])
    (tmp_path / "out").mkdir()
    before = os.umask(0o022)
    try:
        unpack(tmp_path / "x.tgz", tmp_path / "out", kind="tar.gz", where="bundle x")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert modes == {"open": 0o644, "shut": 0o644, "shared": 0o755}
