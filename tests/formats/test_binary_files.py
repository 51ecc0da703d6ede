"""This module tests folders of files: listings, bounded chunks, and files that cannot be read or that changed."""

from __future__ import annotations

import os

import fsspec
import pyarrow as pa
import pytest

from bentobatch.errors import DataError, UsageError
from bentobatch.formats import file_bytes
from bentobatch.formats.base import InputFile, Range, ReadPlan, ScanOptions
from bentobatch.formats.binary_files import BinaryFilesFormat, file_array, listed_rows, listing
from bentobatch.formats.discover import discover_any
from bentobatch.formats.file_bytes import FileIdentity, UnreadableError, read_named, read_planned

FORMAT = BinaryFilesFormat()
PLAN = pa.schema([("path", pa.string()), ("file", pa.string())])


@pytest.fixture
def folder(tmp_path):
    """Ten files of as many bytes as their number."""
    found = tmp_path / "folder"
    found.mkdir()
    for number in range(10):
        (found / f"{number}.bin").write_bytes(bytes([number]) * number)
    return found


def identities(folder):
    return [FileIdentity(file.uri, file.size, file.stamp) for file in discover_any([str(folder)])]


def listed(tmp_path, rows, names=("file",)):
    """A listing as planning leaves it in the state folder."""
    path = tmp_path / "listing.arrow"
    table = listing(rows, names)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    return InputFile(str(path), path.stat().st_size, "sha256:x", "binary_files")


def of_folder(tmp_path, folder):
    return listed(tmp_path, [(os.path.basename(file.uri), {"file": file}) for file in identities(folder)])


def read(file, **plan):
    scan = FORMAT.scan(file, ScanOptions())
    (piece,) = scan.ranges
    return list(FORMAT.read(file, piece, ReadPlan(PLAN, **plan)))


def contents(chunk):
    return chunk.features.column("file").field("content").to_pylist()


def test_each_file_is_a_row_with_its_bytes(tmp_path, folder):
    """The columns that are kept are text; the bytes are for the api alone."""
    file = of_folder(tmp_path, folder)
    scan = FORMAT.scan(file, ScanOptions())
    assert (scan.rows, scan.schema, scan.row_bytes) == (10, PLAN, 4.5)
    (chunk,) = read(file)
    assert chunk.batch.schema.equals(PLAN)
    assert chunk.batch.column("path").to_pylist() == [f"{number}.bin" for number in range(10)]
    assert contents(chunk) == [bytes([number]) * number for number in range(10)]
    assert chunk.files == [str(folder / f"{number}.bin") for number in range(10)]
    assert not chunk.bad


def test_chunks_are_bounded_by_rows_and_bytes(tmp_path, folder):
    """The bytes of a chunk are bounded by the sizes that planning saw, one file at least; nothing more is read ahead."""
    file = of_folder(tmp_path, folder)
    assert [chunk.batch.num_rows for chunk in read(file, chunk_rows=4)] == [4, 4, 2]
    assert [chunk.batch.num_rows for chunk in read(file, chunk_bytes=10)] == [5, 1, 1, 1, 1, 1]
    (part,) = FORMAT.read(file, Range(2, 4, 2, 2), ReadPlan(PLAN))
    assert contents(part) == [b"\2\2", b"\3\3\3"]


def test_files_are_read_when_their_chunk_is_due(tmp_path, folder):
    """Twenty thousand images must not be read at once: a file that vanishes later is noticed later."""
    file = of_folder(tmp_path, folder)
    chunks = FORMAT.read(file, Range(0, 10, 10, 0), ReadPlan(PLAN, chunk_rows=5))
    assert next(chunks).batch.num_rows == 5
    (folder / "9.bin").unlink()
    with pytest.raises(DataError, match=r"9\.bin: gone since planning"):
        next(chunks)


def test_a_file_that_cannot_be_read_costs_its_row(tmp_path, folder, monkeypatch):
    """Whatever the disk says of one file; its neighbours are read."""
    file = of_folder(tmp_path, folder)
    real = os.open

    def refusing(path, *rest, **more):
        if str(path).endswith("3.bin"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", refusing)
    (chunk,) = read(file)
    (bad,) = chunk.bad
    assert (bad.index, bad.stage, bad.error) == (3, "read", f"{folder}/3.bin: Permission denied")
    assert contents(chunk)[2:5] == [b"\2\2", None, b"\4" * 4]


def test_a_file_that_is_too_large_costs_its_row(tmp_path, folder, monkeypatch):
    """A file is one value in memory, so it has a bound; it is not even opened."""
    monkeypatch.setattr(file_bytes, "MAX_FILE", 8)
    (chunk,) = read(of_folder(tmp_path, folder))
    assert [bad.index for bad in chunk.bad] == [9]
    assert "9 bytes; files of up to 8" in chunk.bad[0].error


@pytest.mark.parametrize("how", ["longer", "touched", "pipe", "directory", "gone"])
def test_a_file_that_changed_since_planning_stops_the_run(tmp_path, folder, how):
    """Never mix: the same command plans anew. A pipe in its place does not hold the job."""
    file = of_folder(tmp_path, folder)
    path = folder / "5.bin"
    if how == "longer":
        path.write_bytes(b"longer than it was")
    elif how == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
        if how == "pipe":
            os.mkfifo(path)
        elif how == "directory":
            path.mkdir()
    if how in ("pipe", "directory"):
        (chunk,) = read(file)
        assert [(bad.index, bad.error.rpartition(": ")[2]) for bad in chunk.bad] in (
            [(5, "not a regular file")],
            [(5, "Is a directory")],
        )
        return
    with pytest.raises(DataError, match=r"5\.bin: (changed|gone) since planning; run the same command again"):
        read(file)


def test_rows_of_several_files_may_lack_some(tmp_path, folder):
    """A missing partner is a null, which the adapter makes a bad row or None of."""
    one, two, three = identities(folder)[1:4]
    rows = [("a", {"x": one, "y": two}), ("b", {"y": three})]
    file = listed(tmp_path, rows, ("x", "y"))
    schema = pa.schema([(name, pa.string()) for name in ("y", "x")])
    (chunk,) = FORMAT.read(file, Range(0, 2, 2, 0), ReadPlan(schema))
    assert chunk.features.schema.names == ["y", "x"]
    assert chunk.features.column("x").is_null().to_pylist() == [False, True]
    assert chunk.batch.column("x").to_pylist() == [one.uri, None]
    assert chunk.files == [one.uri, three.uri]


def test_listings_keep_names_that_are_no_utf8():
    """Such names are shown escaped and opened as they are."""
    row = ("bad\udcff.png", {"file": FileIdentity("/data/bad\udcff.png", 3, "7")})
    table = listing([row], ["file"])
    assert table.column("path").to_pylist() == ["bad\\xff.png"]
    assert listed_rows(table) == [("bad\\xff.png", row[1])]


def test_another_arrow_file_is_no_listing(tmp_path, folder):
    """--format binary_files is for the files themselves."""
    path = tmp_path / "table.arrow"
    table = pa.table({"path": ["x"], "file": ["y"]})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    for broken in (path, folder / "9.bin"):
        with pytest.raises(DataError, match="listing"):
            FORMAT.scan(InputFile(str(broken), broken.stat().st_size, "", "binary_files"), ScanOptions())
    with pytest.raises(UsageError, match="no lines"):
        FORMAT.scan(of_folder(tmp_path, folder), ScanOptions(lines=True))


def test_files_behind_urls_are_read_and_checked():
    """The stamp and the size are asked for again, as for local files."""
    fs = fsspec.filesystem("memory")
    fs.pipe("/binary/a.bin", b"abc")
    (file,) = identities("memory://binary/a.bin")
    assert read_planned(file) == b"abc"
    fs.pipe("/binary/a.bin", b"abcd")
    with pytest.raises(DataError, match="changed since planning"):
        read_planned(file)
    fs.rm("/binary/a.bin")
    with pytest.raises(DataError, match="gone since planning"):
        read_planned(file)
    with pytest.raises(UnreadableError, match="No such file"):
        read_named("memory://binary/a.bin")


def test_a_column_of_files_has_a_null_where_there_is_none():
    """And keeps bytes exactly."""
    array = file_array([("a", "/a", b"\0\xff"), None, ("c", None, b"")])
    assert array.to_pylist() == [
        {"path": "a", "uri": b"/a", "content": b"\0\xff"},
        None,
        {"path": "c", "uri": None, "content": b""},
    ]
