"""This module tests columns that name files: which are read, which are refused, and how chunks are bounded."""

from __future__ import annotations

import os

import fsspec
import pyarrow as pa
import pytest

from bentobatch.formats import file_columns
from bentobatch.formats.base import Chunk
from bentobatch.formats.file_columns import FileColumns
from bentobatch.rows import BadRow


@pytest.fixture
def root(tmp_path):
    """A folder with files, beside one with a secret."""
    found = tmp_path / "root"
    (found / "sub").mkdir(parents=True)
    for number in range(6):
        (found / f"{number}.bin").write_bytes(bytes([number]) * 10)
    (found / "sub" / "a.bin").write_bytes(b"sub")
    (tmp_path / "secret").write_bytes(b"secret")
    return found


def attach(batch, root, *, names=("file",), fetch=False, chunk_bytes=1000, bad=(), **chunk):
    columns = FileColumns(tuple(names), None if root is None else str(root), fetch, chunk_bytes)
    return list(columns.attach(iter([Chunk(batch, bad, **chunk)])))


def one(root, text, **options):
    """What comes of one path: bytes, or why not."""
    (chunk,) = attach(pa.record_batch({"file": [text]}), root, **options)
    if chunk.bad:
        assert (chunk.bad[0].stage, chunk.bad[0].index) == ("read", 0)
        return chunk.bad[0].error
    return chunk.features.column("file").field("content")[0].as_py()


def test_paths_are_relative_to_the_root_or_lie_in_it(root):
    """Absolute ones and file URLs too."""
    assert one(root, "1.bin") == b"\1" * 10
    assert one(root, "./sub/../sub/a.bin") == b"sub"
    assert one(root, str(root / "sub" / "a.bin")) == b"sub"
    assert one(root, f"file://{root}/sub/a.bin") == b"sub"


@pytest.mark.parametrize(
    "text",
    ["../secret", "sub/../../secret", "/etc/passwd", "file:///etc/passwd", "local:///etc/passwd", "link", "linked/secret",
     ".", "", "..", "/"],
)  # fmt: skip
def test_paths_that_lead_out_of_the_root_are_refused(root, text):
    """By dots, from the root of the disk, or through links: the data must not choose what is read."""
    os.symlink(root.parent / "secret", root / "link")
    os.symlink(root.parent, root / "linked")
    told = one(root, text)
    assert isinstance(told, str)
    assert "leads out of" in told or "not a path" in told


def test_a_sibling_that_begins_like_the_root_is_outside(root):
    """/data/root2 does not lie in /data/root."""
    (root.parent / "root2").mkdir()
    (root.parent / "root2" / "x").write_bytes(b"x")
    assert "leads out of" in one(root, "../root2/x")


def test_links_within_the_root_are_followed(root):
    """They lead nowhere else."""
    os.symlink("sub/a.bin", root / "inner")
    assert one(root, "inner") == b"sub"


def test_only_regular_files_are_opened(root):
    """A pipe would hold the job, a device never end."""
    os.mkfifo(root / "pipe")
    assert one(root, "pipe").endswith("not a regular file")
    assert "directory" in one(root, "sub").casefold() or "regular" in one(root, "sub")
    assert one(root, "nosuch").endswith("No such file or directory")
    assert "not a path" in one(root, "a\0b")


def test_without_a_root_no_path_is_read():
    """Inline rows come from no folder."""
    assert "--files-root" in one(None, "1.bin")


def test_urls_are_fetched_only_on_demand(root, monkeypatch):
    """No outgoing connection that nobody asked for."""
    asked = []
    monkeypatch.setattr(file_columns, "read_named", lambda uri, options=None: asked.append((uri, options)) or b"got")
    assert "ImageInput(fetch=True)" in one(root, "https://host/a.png")
    assert not asked
    assert one(root, "https://host/a.png", fetch=True) == b"got"
    assert asked == [("https://host/a.png", None)]


@pytest.mark.parametrize("url", ["memory://x/a", "ftp://host/a", "zip://a::https://host/b", "http::file:///etc/passwd"])
def test_urls_of_other_schemes_are_never_fetched(root, url):
    """Some of them reach into this machine."""
    fsspec.filesystem("memory").pipe("/x/a", b"a")
    assert "are fetched" in one(root, url, fetch=True)


@pytest.mark.parametrize(
    ("root", "url", "given"),
    [
        ("s3://bucket/table", "s3://other/a", True),
        ("s3://bucket/table", "https://host/a", False),
        ("https://host/table", "https://host/a", True),
        ("https://host/table", "https://evil/a", False),
        ("https://host/table", "http://host/a", False),
        ("/data", "s3://bucket/a", False),
    ],
)
def test_credentials_go_only_where_the_table_came_from(root, url, given, monkeypatch):
    """A column may name any host; the job's password is not for all of them."""
    asked = []
    monkeypatch.setattr(file_columns, "read_named", lambda uri, options=None: asked.append(options) or b"")
    columns = FileColumns(("file",), root, True, 1000, {"key": "secret"})
    list(columns.attach(iter([Chunk(pa.record_batch({"file": [url]}))])))
    assert asked == [{"key": "secret"} if given else None]


def test_paths_beside_a_table_behind_a_url_are_read_from_there():
    """Within its folder; what could mean another place in a URL is refused."""
    fs = fsspec.filesystem("memory")
    fs.pipe("/beside/images/a.png", b"image")
    fs.pipe("/secret", b"secret")
    assert one("memory://beside", "images/a.png") == b"image"
    for text in ("../secret", "/secret", "a::b", "%2e%2e/secret", "x?y", "x#y", "..\\secret", ""):
        assert "leads out of" in one("memory://beside", text)
    assert one("memory://beside", "images/nosuch.png").endswith("No such file")


def test_chunks_are_cut_by_the_bytes_of_their_files(root):
    """Rows of a path each are small, their files are not; bad rows, lines and other columns keep their places."""
    names = [f"{number}.bin" for number in range(6)]
    names[3] = "nosuch"
    batch = pa.record_batch({"file": names, "id": range(6)})
    known = BadRow(1, "read", "ValueError", "malformed")
    chunks = attach(batch, root, chunk_bytes=25, bad=[known], first_line=2)
    assert [chunk.batch.column("id").to_pylist() for chunk in chunks] == [[0, 1, 2, 3], [4, 5]]
    assert [[bad.index for bad in chunk.bad] for chunk in chunks] == [[1, 3], []]
    assert [chunk.first_line for chunk in chunks] == [2, 6]
    found = [content for chunk in chunks for content in chunk.features.column("file").field("content").to_pylist()]
    assert found == [b"\0" * 10, None, b"\2" * 10, None, b"\4" * 10, b"\5" * 10]
    lined = attach(batch, root, chunk_bytes=25, bad=[known], lines=[2, 3, 5, 6, 8, 9])
    assert [list(chunk.lines) for chunk in lined] == [[2, 3, 5, 6], [8, 9]]


def test_nulls_and_other_columns_stay_as_they_are(root):
    """A null is no file; a column of bytes holds the file itself."""
    batch = pa.record_batch({"file": ["1.bin", None], "raw": [b"a", b"b"]})
    (chunk,) = attach(batch, root, names=("raw", "file"))
    assert chunk.features.schema.names == ["raw", "file"]
    assert chunk.features.column("raw").to_pylist() == [b"a", b"b"]
    assert chunk.features.column("file").is_null().to_pylist() == [False, True]
    assert not chunk.bad
    (same,) = attach(batch, root, names=("raw",))
    assert same.features is None


def test_dictionaries_of_paths_are_text_too(root):
    """Parquet files often hold them."""
    column = pa.array(["1.bin", "1.bin", "2.bin"]).dictionary_encode()
    (chunk,) = attach(pa.record_batch([column], names=["file"]), root)
    assert chunk.features.column("file").field("content")[2].as_py() == b"\2" * 10
