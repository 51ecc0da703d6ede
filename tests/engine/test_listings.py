"""This module tests how folders of files become splits: what belongs together, and where groups end."""

from __future__ import annotations

import json
import random

import pytest

from bentobatch.engine.job import BatchJob
from bentobatch.engine.listings import _groups, paired
from bentobatch.errors import DataError, UsageError
from bentobatch.formats.discover import discover_any
from bentobatch.formats.file_bytes import FileIdentity


def folder(path, *names):
    """The files of a new folder."""
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    return str(path)


def rows_of(found, names):
    """Each row's path and the files of it, by their names."""
    return [
        (path, {name: file.uri.rpartition("/")[2] for name, file in files.items()})
        for path, files in paired(found, names)
    ]


def test_files_belong_together_by_their_paths_without_extension(tmp_path):
    """Whatever their extensions; those without a partner are rows too, the first input's in their order first."""
    x = discover_any([folder(tmp_path / "x", "1.png", "2.png", "10.png", "sub/1.png", "only.png")])
    y = discover_any([folder(tmp_path / "y", "1.jpg", "2.json", "10.txt", "sub/1.bmp", "other.jpg")])
    assert rows_of({"x": x, "y": y}, ["x", "y"]) == [
        ("1.png", {"x": "1.png", "y": "1.jpg"}),
        ("2.png", {"x": "2.png", "y": "2.json"}),
        ("10.png", {"x": "10.png", "y": "10.txt"}),
        ("only.png", {"x": "only.png"}),
        ("sub/1.png", {"x": "1.png", "y": "1.bmp"}),
        ("other.jpg", {"y": "other.jpg"}),
    ]
    assert rows_of({"y": y[:1]}, ["x", "y"]) == [("1.jpg", {"y": "1.jpg"})]


def test_files_that_were_named_themselves_belong_together_in_their_order(tmp_path):
    """As BentoML 0.13 pairs them; where one input has more of them, names decide."""
    root = folder(tmp_path, "a.png", "b.png", "c.json", "a.json")
    x = discover_any([f"{root}/a.png", f"{root}/b.png"])
    y = discover_any([f"{root}/c.json", f"{root}/a.json"])
    assert rows_of({"x": x, "y": y}, ["x", "y"])[0] == ("a.png", {"x": "a.png", "y": "c.json"})
    assert rows_of({"x": x[:1], "y": y}, ["x", "y"])[0] == ("a.png", {"x": "a.png", "y": "a.json"})


def test_two_files_of_one_name_are_refused(tmp_path):
    """Nobody knows which of them the partner belongs to."""
    x = discover_any([folder(tmp_path / "x", "a.png", "a.jpg")])
    y = discover_any([folder(tmp_path / "y", "a.json")])
    with pytest.raises(DataError, match=r"a\.jpg and .*a\.png have one name"):
        paired({"x": x, "y": y}, ["x", "y"])


def files(count, size=1000):
    return [(f"images/{number}.png", {"file": FileIdentity(f"/{number}", size, "")}) for number in range(count)]


def test_groups_are_the_rows_in_order():
    """Each row once; a small folder is one group, a large one has work for many workers."""
    for count in (1, 15, 100, 5000):
        rows = files(count)
        groups = list(_groups(rows, 262_144))
        assert [row for group in groups for row in group] == rows
        assert max(len(group) for group in groups) <= 2048
    assert len(list(_groups(files(15), 262_144))) == 1
    assert 30 <= len(list(_groups(files(5000), 262_144))) <= 300
    assert all(len(group) <= 10 for group in _groups(files(100), 10))
    assert [len(group) for group in _groups(files(5), 1)] == [1] * 5


def test_groups_are_bounded_by_bytes():
    """Large files are few to a group, and one that is larger than the bound stands alone."""
    assert [len(group) for group in _groups(files(6, size=100 << 20), 1000)] == [2, 2, 2]
    assert [len(group) for group in _groups(files(3, size=300 << 20), 1000)] == [1, 1, 1]


def test_one_file_more_changes_few_groups():
    """The finished splits of the others are taken over, wherever the new file stands."""
    rows = files(3000)
    before = {str(group) for group in _groups(rows, 262_144)}
    for place in random.Random(3).sample(range(3000), 10):
        more = [*rows[:place], ("images/new.png", {"file": FileIdentity("/new", 9, "")}), *rows[place:]]
        assert len({str(group) for group in _groups(more, 262_144)} - before) <= 8


def test_a_job_with_named_files_survives_json():
    """A job travels to other machines as JSON; it has files in one way only."""
    job = BatchJob("/b", "d", "B:1", "predict", named_files=(("x", ("/x", "/y")), ("z", ("/z",))), files_root="/root")
    assert BatchJob.from_json(json.loads(json.dumps(job.to_json()))) == job
    with pytest.raises(UsageError, match="not both"):
        BatchJob("/b", "d", "B:1", "predict", input_files=("/a",), named_files=(("x", ("/x",)),))
    with pytest.raises(UsageError, match="belongs together"):
        BatchJob("/b", "d", "B:1", "predict", output_file="/o", only_new=True, named_files=(("x", ("/x",)),))
