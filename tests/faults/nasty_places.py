"""This module makes nasty directories, names and things that are no files."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.nasty import Case, Truth, either, error, makes, ok, parquet, rows, table, truth

TABLE = (
    ok("dir/mixed_schema", 30),
    error("dir/mixed_incompatible", 65, "part-2.*missing column.*x2"),
    ok("dir/hidden", 30),
    ok("dir/symlink_loop", 30),
    error("dir/dangling", 66, "part-9"),
    error("dir/one_corrupt", 65, "part-1"),
    ok("dir/natural_order", 24),
    error("dir/mixed_formats", 65, "mixed formats|a.csv"),
    ok("names/with space.parquet", 5),
    ok("names/per%20cent#hash?q.parquet", 5),
    ok("names/-dash.parquet", 5),
    ok("names/quote'\".parquet", 5),
    ok(f"names/{'n' * 247}.parquet", 5),
    either(os.fsdecode(b"names/bad\xffutf8.parquet"), process=True),
)

BEYOND = (
    error("dir/fifo", 65, "pipe.parquet.*regular|regular.*pipe.parquet"),
    error("dir/socket", 65, "regular"),
    error("dir/empty", 66, "no input files"),
    error("dir/only_hidden", 66, "no input files"),
    error("dir/unknown_extension", 2, "notes.dat"),
    ok("dir/nested_levels", 20),
    ok("dir/hive", 30, options={"keep": ["id", "day"]}),
    ok("dir/hive_nulls", 20, options={"keep": ["id", "day"]}),
    ok("dir/hive_unicode", 10, options={"keep": ["id", "città"]}),
    error("dir/hive_differs", 65, "day", options={"keep": ["id", "day"]}),
    ok("dir/hive_feature", 10),
    error("dir/hive_wrong_feature", 65, "x0"),
    ok("dir/hive_key_in_file_too", 10, options={"keep": ["id", "day"]}),
    ok("dir/glob/*.parquet", 20),
    error("dir/none/*.parquet", 66, "no input files|No such"),
    ok("dir/glob[1]/part[0].parquet", 5),
    ok("dir/empty_files_between", 10),
    error("dir/kept_type_differs", 65, "id"),
    ok("dir/kept_type_widens", 20),
    error("dir/changed_case.parquet/x.parquet", 66, "No such"),
    ok("dir/as_a_file.parquet", 10),
    ok("names/UPPER.PARQUET", 5),
    either("names/new\nline.parquet"),
    ok("names/.hidden.parquet", 5),
    ok("names/[glob]*.parquet", 5),
    ok("names/link.parquet", 5),
    error("names/no_extension", 2, "--format"),
    error("names/fifo.parquet", 65, "regular"),
    error("names/unreadable_zip.parquet.gz", 65, "unpack"),
    error("/dev/null", 65, "regular", options={"format": "csv"}),
    error("/dev/stdin", 65, "regular", options={"format": "csv"}),
    error("/dev/zero", 65, "regular", options={"format": "csv"}),
    error("/proc/self/mem", 65, "", options={"format": "csv"}),
    error("/nonexistent/x.parquet", 66, "No such"),
    error("", 2, "path"),
)


def _parts(path: Path, names: tuple[str, ...], count: int = 10) -> Truth:
    for number, name in enumerate(names):
        parquet(path / name, rows(count, number * count))
    return truth(rows(len(names) * count))


THREE = ("part-0.parquet", "part-1.parquet", "part-2.parquet")


@makes("dir/mixed_schema")
def _(path: Path) -> Truth:
    """The first file has narrower types, the second a column more."""
    kinds = {"id": pa.int32(), "x0": pa.int64(), "x1": pa.float32()}
    whole: list[tuple[int, int, float, float]] = [(index, index, 2.0, 0.5) for index in range(10)]
    columns = {
        name: pa.array([item[place] for item in whole], kind) for place, (name, kind) in enumerate(kinds.items())
    }
    parquet(path / "part-0.parquet", list(whole), **columns)
    parquet(path / "part-1.parquet", rows(10, 10), extra=pa.array(["x"] * 10))
    parquet(path / "part-2.parquet", rows(10, 20))
    return truth([*whole, *rows(20, 10)])


@makes("dir/mixed_incompatible")
def _(path: Path) -> Truth:
    _parts(path, THREE[:2])
    pq.write_table(table(rows(10, 20)).drop_columns(["x2"]), path / "part-2.parquet")


@makes("dir/hidden")
def _(path: Path) -> Truth:
    found = _parts(path, THREE)
    (path / "_SUCCESS").write_text("")
    (path / ".part-3.parquet.crc").write_text("junk")
    _parts(path / "_temporary" / "0", THREE)
    _parts(path / ".ipynb_checkpoints", THREE)
    return found


@makes("dir/symlink_loop")
def _(path: Path) -> Truth:
    found = _parts(path, THREE)
    (path / "again").symlink_to(path)
    (path / "up").symlink_to("..")
    return found


@makes("dir/dangling")
def _(path: Path) -> Truth:
    _parts(path, THREE)
    (path / "part-9.parquet").symlink_to("gone.parquet")


@makes("dir/one_corrupt")
def _(path: Path) -> Truth:
    _parts(path, THREE)
    (path / "part-1.parquet").write_bytes(b"PAR1 this is no footer PAR1")


@makes("dir/natural_order")
def _(path: Path) -> Truth:
    return _parts(path, tuple(f"part-{number}.parquet" for number in range(12)), 2)


@makes("dir/mixed_formats")
def _(path: Path) -> Truth:
    _parts(path, THREE)
    (path / "a.csv").write_text("id,x0,x1,x2\n0,1.0,2.0,3.0\n")


def _named(name: str) -> None:
    @makes(name)
    def _(path: Path) -> Truth:
        return parquet(path, rows(5))


for _case in (*TABLE, *BEYOND):
    if _case.name.startswith("names/") and _case.expect != "error" and "link" not in _case.name:
        _named(_case.name)
_named("dir/glob[1]/part[0].parquet")


@makes("names/link.parquet")
def _(path: Path) -> Truth:
    found = parquet(path.parent / "target.bin", rows(5))
    path.symlink_to("target.bin")
    return found


@makes("names/no_extension")
def _(path: Path) -> Truth:
    parquet(path, rows(5))


@makes("names/unreadable_zip.parquet.gz")
def _(path: Path) -> Truth:
    parquet(path, rows(5))


@makes("names/fifo.parquet")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


@makes("dir/fifo")
def _(path: Path) -> Truth:
    _parts(path, THREE)
    os.mkfifo(path / "pipe.parquet")


@makes("dir/socket")
def _(path: Path) -> Truth:
    _parts(path, THREE)
    os.mknod(path / "socket.parquet", 0o140644)


@makes("dir/empty")
def _(path: Path) -> Truth:
    path.mkdir(parents=True)


@makes("dir/only_hidden")
def _(path: Path) -> Truth:
    _parts(path, ("_a.parquet", ".b.parquet"))


@makes("dir/unknown_extension")
def _(path: Path) -> Truth:
    _parts(path, THREE)
    (path / "notes.dat").write_text("?")


@makes("dir/nested_levels")
def _(path: Path) -> Truth:
    return _parts(path, ("a/b/c/0.parquet", "a/d/0.parquet"))


@makes("dir/hive")
def _(path: Path) -> Truth:
    return _parts(path, ("day=2026-01-01/0.parquet", "day=2026-01-02/0.parquet", "day=2026-01-10/0.parquet"))


@makes("dir/hive_nulls")
def _(path: Path) -> Truth:
    return _parts(path, ("day=1/0.parquet", "day=__HIVE_DEFAULT_PARTITION__/0.parquet"))


@makes("dir/hive_unicode")
def _(path: Path) -> Truth:
    return _parts(path, ("città=Pa%20via %F0%9F%8E%88/0.parquet",))


@makes("dir/hive_differs")
def _(path: Path) -> Truth:
    _parts(path, ("day=1/0.parquet", "other/0.parquet"))


@makes("dir/hive_feature")
def _(path: Path) -> Truth:
    """A partition key is a feature."""
    (path / "x0=1.5").mkdir(parents=True)
    pq.write_table(table(rows(10)).drop_columns(["x0"]), path / "x0=1.5" / "0.parquet")
    return truth([(item[0], 1.5, *item[2:]) for item in rows(10)])


@makes("dir/hive_wrong_feature")
def _(path: Path) -> Truth:
    (path / "x0=many").mkdir(parents=True)
    pq.write_table(table(rows(10)).drop_columns(["x0"]), path / "x0=many" / "0.parquet")


@makes("dir/hive_key_in_file_too")
def _(path: Path) -> Truth:
    return parquet(path / "day=7" / "0.parquet", rows(10), day=pa.array([8] * 10))


@makes("dir/glob/*.parquet")
def _(path: Path) -> Truth:
    found = _parts(path.parent, ("0.parquet", "1.parquet"))
    parquet(path.parent / "_2.parquet", rows(10))
    (path.parent / "notes.txt").write_text("not matched")
    return found


@makes("dir/none/*.parquet")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True)


@makes("dir/empty_files_between")
def _(path: Path) -> Truth:
    parquet(path / "0.parquet", [])
    found = parquet(path / "1.parquet", rows(10))
    parquet(path / "2.parquet", [])
    return found


@makes("dir/kept_type_differs")
def _(path: Path) -> Truth:
    parquet(path / "0.parquet", rows(10))
    parquet(path / "1.parquet", rows(10, 10), id=pa.array([f"k{index}" for index in range(10)]))


@makes("dir/kept_type_widens")
def _(path: Path) -> Truth:
    parquet(path / "0.parquet", rows(10), id=pa.array(range(10), pa.int8()))
    parquet(path / "1.parquet", rows(10, 10))
    return truth(rows(20))


@makes("dir/as_a_file.parquet")
def _(path: Path) -> Truth:
    return _parts(path, ("0.parquet",))


@makes("dir/changed_case.parquet/x.parquet")
def _(path: Path) -> Truth:
    parquet(path.parent, rows(1))  # a file where a directory is asked for


CASES: tuple[Case, ...] = TABLE + BEYOND
