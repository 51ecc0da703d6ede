"""This module tests what an input stands for: which files, in which order, of which format, and what is refused."""

from __future__ import annotations

import errno
import os
import socket
import time

import fsspec
import pytest

from bentobatch import plugins
from bentobatch.errors import DataError, NoInputError, StorageError, UsageError
from bentobatch.formats.discover import EXTENSIONS, HIVE_NULL, discover


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Creates files below tmp_path, which is the current directory, and returns it."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * len(name))
        return tmp_path

    return make


def names(files, root):
    return [os.path.relpath(file.uri, root) for file in files]


def test_a_file_is_found_with_its_size_stamp_and_format(make):
    """A relative path becomes absolute; the stamp is the mtime in nanoseconds."""
    root = make("d/a.parquet")
    (file,) = discover(["d/a.parquet"])
    status = os.stat(root / "d/a.parquet")
    assert (file.uri, file.size, file.stamp) == (str(root / "d/a.parquet"), 11, str(status.st_mtime_ns))
    assert (file.format, file.compression, file.partition) == ("parquet", None, ())


def test_files_come_in_natural_order_within_each_input_and_inputs_as_given(make):
    """part-2 before part-10; a second input follows the first whatever its name."""
    root = make("z/part-10.csv", "z/part-2.csv", "z/part-1.csv", "z/sub2/a.csv", "z/sub10/a.csv", "a/b.csv")
    found = names(discover(["z", "a/*.csv"]), root)
    assert found == ["z/part-1.csv", "z/part-2.csv", "z/part-10.csv", "z/sub2/a.csv", "z/sub10/a.csv", "a/b.csv"]


def test_names_that_differ_by_leading_zeros_have_a_stable_order(make):
    """The path itself breaks the tie of equal numbers."""
    root = make("d/p01.csv", "d/p1.csv", "d/p001.csv")
    assert names(discover(["d"]), root) == ["d/p001.csv", "d/p01.csv", "d/p1.csv"]


def test_hidden_names_are_ignored_at_every_level_but_may_be_named(make):
    """Names that start with _ or . are other programs' business, unless the user names them."""
    root = make("d/a.csv", "d/_SUCCESS", "d/.b.csv", "d/_tmp/c.csv", "d/s/.t/c.csv", "d/s/_d.csv", "_x/y.csv")
    assert names(discover(["d"]), root) == ["d/a.csv"]
    assert names(discover(["d/*"]), root) == ["d/a.csv"]
    assert names(discover(["d/**/*.csv"]), root) == ["d/a.csv"]
    assert names(discover(["d/.b.csv", "_x", "d/_tmp/*.csv", "d/s/_*"]), root) == [
        "d/.b.csv",
        "_x/y.csv",
        "d/_tmp/c.csv",
        "d/s/_d.csv",
    ]


def test_a_path_that_exists_is_taken_literally_before_it_is_a_glob(make):
    """A file may be called like a pattern."""
    root = make("a[1].csv", "a1.csv", "b*.csv", "bc.csv")
    assert names(discover(["a[1].csv"]), root) == ["a[1].csv"]
    assert names(discover(["b*.csv"]), root) == ["b*.csv"]
    os.remove(root / "b*.csv")
    assert names(discover(["b*.csv"]), root) == ["bc.csv"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.csv", ["a1.csv", "a2.csv"]),
        ("a?.csv", ["a1.csv", "a2.csv"]),
        ("a[!1].csv", ["a2.csv"]),
        ("d/*/x.csv", ["d/e/x.csv", "d/f/x.csv"]),
        ("d/*", ["d/e/g/y.csv", "d/e/x.csv", "d/f/x.csv"]),
        ("d/**", ["d/e/g/y.csv", "d/e/x.csv", "d/f/x.csv"]),
        ("d/**/y.csv", ["d/e/g/y.csv"]),
        ("**/x.csv", ["d/e/x.csv", "d/f/x.csv"]),
        ("*/e", ["d/e/g/y.csv", "d/e/x.csv"]),
        ("d/../a1.*", ["a1.csv"]),
    ],
)
def test_globs(make, pattern, found):
    """Wildcards within a level, ** over levels; a directory that matches stands for the files below it."""
    root = make("a1.csv", "a2.csv", "d/e/x.csv", "d/f/x.csv", "d/e/g/y.csv")
    assert names(discover([pattern]), root) == found


def test_a_file_is_listed_once_or_as_often_as_it_was_named(make):
    """Overlapping globs and directories do not repeat a file; naming it twice does."""
    root = make("a.csv", "b.csv")
    assert names(discover(["*.csv", ".", "a.csv"]), root) == ["a.csv", "b.csv"]
    assert names(discover(["a.csv", "*.csv"]), root) == ["a.csv", "b.csv"]
    assert names(discover(["a.csv", "b.csv", "./a.csv"]), root) == ["a.csv", "b.csv", "a.csv"]
    assert names(discover(["*.csv", "a.csv", "a.csv"]), root) == ["a.csv", "b.csv", "a.csv"]


def test_hive_directories_become_partitions(make):
    """Keys and values are URL-decoded; the null value keeps its spelling; other directories say nothing."""
    make("d/day=2026-01-01/x/city=S%C3%A3o%20Paulo%2F1/a.parquet", f"d/day={HIVE_NULL}/x/city=/a.parquet")
    first, second = discover(["d"])
    assert first.partition == (("day", "2026-01-01"), ("city", "São Paulo/1"))
    assert second.partition == (("day", HIVE_NULL), ("city", ""))


def test_partitions_count_below_the_root_or_from_the_first_wildcard_on(make):
    """What the user spelled out is a place, not a value."""
    make("d/day=1/k=2/a.parquet")
    assert discover(["d/day=1"])[0].partition == (("k", "2"),)
    assert discover(["d/day=*/k=2/*.parquet"])[0].partition == (("day", "1"), ("k", "2"))
    assert discover(["d/day=1/k=*"])[0].partition == (("k", "2"),)
    assert discover(["d/day=1/k=2/a.parquet"])[0].partition == ()


def test_a_partition_that_stands_twice_or_is_no_text_is_refused(make):
    """Neither has an answer."""
    make("d/day=1/day=2/a.parquet")
    with pytest.raises(DataError, match="partition day stands in its path twice"):
        discover(["d"])
    os.makedirs(b"e/k=\xff")
    open(b"e/k=\xff/a.parquet", "w").close()
    with pytest.raises(DataError, match=r"e/k=\\xff/a.parquet: a partition directory's name is not UTF-8"):
        discover(["e"])


@pytest.mark.parametrize(
    ("name", "format", "compression"),
    [(f"x{extension}", format, None) for extension, format in EXTENSIONS.items()]
    + [
        ("X.PARQUET", "parquet", None),
        ("x.snappy.parquet", "parquet", None),
        ("x.gz.parquet", "parquet", None),
        ("x.csv.gz", "csv", "gzip"),
        ("x.JSONL.zst", "jsonl", "zstd"),
        ("x.txt.bz2", "text", "bz2"),
        ("x.json.gz", "json", "gzip"),
    ],
)
def test_the_extension_tells_format_and_compression(make, name, format, compression):
    """Whatever its case."""
    make(name)
    (file,) = discover([name])
    assert (file.format, file.compression) == (format, compression)


def test_every_format_of_the_tables_agrees_on_its_extensions():
    """discover knows the extensions without importing a format; the formats themselves say the same."""
    for name in ("parquet", "arrow", "orc"):
        declared = plugins.find("formats", name).extensions
        assert sorted(declared) == sorted(extension for extension, known in EXTENSIONS.items() if known == name)


def test_a_format_given_by_hand_wins(make):
    """Compression is still told from the name, where the format can be compressed."""
    make("a.log", "b.log.gz", "c.parquet.gz")
    assert [(file.format, file.compression) for file in discover(["a.log", "b.log.gz"], format="csv")] == [
        ("csv", None),
        ("csv", "gzip"),
    ]
    assert discover(["c.parquet.gz"], format="parquet")[0].compression is None
    with pytest.raises(UsageError, match=r"a\.log: its extension tells no format: give --format"):
        discover(["a.log"])
    with pytest.raises(DataError, match=r"c\.parquet\.gz: a parquet file cannot be read compressed"):
        discover(["c.parquet.gz"])


def test_mixed_formats_are_refused(make):
    """Two files are named; compression alone does not make a mixture."""
    make("d/a.csv", "d/part-0.parquet")
    with pytest.raises(DataError, match=r"mixed formats: .*a\.csv and .*part-0\.parquet"):
        discover(["d"])
    make("e/a.csv", "e/b.csv.gz")
    assert len(discover(["e"])) == 2


def test_a_link_to_a_file_is_read_and_one_to_a_directory_is_not_followed(make):
    """No endless walk, and nothing from outside the directory that was named."""
    root = make("d/a.csv", "other/b.csv")
    (root / "d/loop").symlink_to(root / "d")
    (root / "d/up").symlink_to(root)
    (root / "d/link.csv").symlink_to(root / "other/b.csv")
    assert names(discover(["d"]), root) == ["d/a.csv", "d/link.csv"]
    assert names(discover(["d/*"]), root) == ["d/a.csv", "d/link.csv"]
    assert names(discover(["d/**/*.csv"]), root) == ["d/a.csv", "d/link.csv"]
    assert names(discover(["d/up/other"]), root) == ["d/up/other/b.csv"]


def test_a_link_that_leads_nowhere_stops_the_job(make):
    """It is never passed over: rows would be missing."""
    root = make("d/part-1.csv")
    (root / "d/part-9.csv").symlink_to(root / "gone.csv")
    for given in ("d", "d/*", "d/part-9.csv"):
        with pytest.raises(NoInputError, match="part-9"):
            discover([given])
    (root / "d/part-9.csv").unlink()
    (root / "d/part-9.csv").symlink_to("part-9.csv")
    with pytest.raises(NoInputError, match="part-9"):
        discover(["d"])


def test_only_regular_files_are_opened(make):
    """A device or a pipe that is named, or found in a directory, is told and not read."""
    root = make("d/a.csv", "e/a.csv", "f/a.csv")
    with pytest.raises(DataError, match="not a regular file: /dev/zero"):
        discover(["/dev/zero"], format="csv")
    os.mkfifo(root / "d/fifo.csv")
    (root / "f/zero.csv").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("e/socket.csv")
        for given in ("d", "d/*.csv", "d/fifo.csv", "e", "f"):
            with pytest.raises(DataError, match=r"not a regular file: .*(fifo|socket|zero)"):
                discover([given])


def test_nothing_found_is_no_input(make):
    """66, and the message names what was asked for."""
    make("d/_hidden.csv", "a.csv")
    for given in ("gone.csv", "gone/*.csv", "a.csv/x", "n" * 300):
        with pytest.raises(NoInputError, match=f"No such file or directory: .*{given[:4]}"):
            discover([given])
    for given in ("d", "d/*.csv", "*.parquet"):
        with pytest.raises(NoInputError, match="no input files in "):
            discover([given])
    with pytest.raises(NoInputError, match="no input was given"):
        discover([])


@pytest.mark.parametrize("given", ["", "a\0b"])
def test_what_cannot_be_a_path_is_a_usage_error(given):
    """An empty path is not the current directory."""
    with pytest.raises(UsageError, match="not a path"):
        discover([given])


def test_a_directory_without_permission_is_a_storage_error(make, monkeypatch):
    """It is not taken for an empty one. (The refusal is the operating system's words: root is refused nothing.)"""
    root = make("d/s/a.csv", "d/b.csv")
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("d/s"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        discover([str(root / "d")])


@pytest.mark.parametrize(
    "name",
    [
        b"with space.csv",
        b"per%20cent#hash?q.csv",
        b"-dash.csv",
        b"quote'\".csv",
        b"n" * 250 + b".csv",
        b"bad\xffutf8.csv",
    ],
)
def test_odd_names_are_found_by_name_and_in_a_directory(make, name):
    """A uri is the name as os.fsdecode gives it."""
    root = make()
    open(name, "wb").close()
    for given in (os.fsdecode(name), str(root)):
        (file,) = discover([given])
        assert os.fsencode(file.uri) == os.path.join(os.fsencode(root), name)


def test_a_bad_name_in_a_message_can_be_printed(make):
    """No UnicodeEncodeError on the way to the terminal."""
    make()
    open(b"bad\xff.xyz", "wb").close()
    with pytest.raises(UsageError, match=r"bad\\xff\.xyz") as caught:
        discover(["."])
    str(caught.value).encode()


def test_four_thousand_files_take_well_under_a_second(make):
    """One listing and one stat for each file."""
    root = make()
    for part in range(4000):
        (root / f"part-{part}.parquet").touch()
    start = time.process_time()
    files = discover([str(root)])
    assert time.process_time() - start < 0.5
    assert [file.uri for file in files] == [str(root / f"part-{part}.parquet") for part in range(4000)]


def test_a_file_url_is_a_local_path(make):
    """Without decoding, since a local path has no escapes."""
    root = make("a%20b.csv")
    assert names(discover([f"file://{root}/a%20b.csv"]), root) == ["a%20b.csv"]
    with pytest.raises(UsageError, match="not an absolute path"):
        discover(["file://a.csv"])


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    for name in ("part-10.csv", "part-2.csv", "_SUCCESS", "_tmp/a.csv", "day=a%2Fb/x.csv", "sub/day=2/part-1.csv"):
        fs.pipe(f"/bucket/d/{name}", name.encode())
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_urls_stand_for_the_same_kinds(memory):
    """A file, a directory, a glob; hidden names, order and partitions as for paths."""
    (file,) = discover(["memory://bucket/d/part-2.csv"])
    assert (file.uri, file.size, file.partition) == ("memory://bucket/d/part-2.csv", 10, ())
    assert file.stamp
    everything = [
        ("memory://bucket/d/day=a%2Fb/x.csv", (("day", "a/b"),)),
        ("memory://bucket/d/part-2.csv", ()),
        ("memory://bucket/d/part-10.csv", ()),
        ("memory://bucket/d/sub/day=2/part-1.csv", (("day", "2"),)),
    ]
    for given in ("memory://bucket/d", "memory://bucket/d/", "memory://bucket/d/*"):
        assert [(file.uri, file.partition) for file in discover([given])] == everything
    assert [file.uri[-11:] for file in discover(["memory://bucket/*/part-*.csv"])] == ["/part-2.csv", "part-10.csv"]
    assert [file.uri[-10:] for file in discover(["memory://bucket/d/_tmp/*"])] == ["_tmp/a.csv"]


def test_the_stamp_of_a_url_changes_with_its_content(memory):
    """So that a changed input makes another plan."""
    before = discover(["memory://bucket/d/part-2.csv"])[0].stamp
    time.sleep(0.01)
    memory.pipe("/bucket/d/part-2.csv", b"other")
    assert discover(["memory://bucket/d/part-2.csv"])[0].stamp != before


def test_an_absent_url_is_no_input(memory):
    """As for paths; an unknown scheme is the caller's mistake."""
    for given in ("memory://bucket/gone.csv", "memory://bucket/gone/*.csv"):
        with pytest.raises(NoInputError, match="memory://bucket/gone"):
            discover([given])
    with pytest.raises(UsageError, match="unknown scheme 's4'"):
        discover(["s4://bucket/x"])


def test_files_inside_an_archive_keep_their_chain(make):
    """zip://inner::outer: what is found can be opened again by its uri."""
    import zipfile

    root = make()
    with zipfile.ZipFile(root / "z.zip", "w") as archive:
        archive.writestr("d/a.csv", "1")
        archive.writestr("d/b.csv", "22")
    files = discover([f"zip://d/*.csv::{root}/z.zip"])
    assert [(file.uri, file.size) for file in files] == [
        (f"zip://d/a.csv::{root}/z.zip", 1),
        (f"zip://d/b.csv::{root}/z.zip", 2),
    ]
    assert discover([files[1].uri])[0].size == 2
