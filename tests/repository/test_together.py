"""This module tests that processes which work on one repository at the same time, or are killed, leave it sound."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from bentobatch.bundle.verify import verify_bundle
from bentobatch.repository.check import check, gc
from bentobatch.repository.local import LocalRepository
from tests.repository import clients
from tests.repository.making import make_bundle

CLIENTS = 8
Start = Callable[..., BaseProcess]


@pytest.fixture(scope="module")
def start() -> Start:
    """Starts a function of clients.py in a process of its own, which has what it needs imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.repository.clients"])

    def start_it(function: Callable[..., None], *arguments: object) -> BaseProcess:
        process = context.Process(target=function, args=(dict(os.environ), *arguments))
        process.start()
        return process

    return start_it


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("same", [True, False])
def test_of_eight_clients_that_push_one_tag_one_wins(
    database: str, same: bool, start: Start, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Into a repository whose tables do not exist yet. The others learn that it is there: a no-op, or a conflict."""
    db = f"sqlite:///{tmp_path}/catalog.db" if database == "sqlite" else request.getfixturevalue("postgresql")
    bundles = [
        make_bundle(tmp_path / f"b{number}", model=b"x" if same else b"x%d" % number) for number in range(CLIENTS)
    ]
    together = multiprocessing.get_context("forkserver").Barrier(CLIENTS)
    files = [tmp_path / f"said{number}" for number in range(CLIENTS)]
    started = [
        start(clients.push, str(tmp_path / "shared"), db, str(bundle), together, str(file))
        for bundle, file in zip(bundles, files, strict=True)
    ]
    for process in started:
        process.join()
    said = [file.read_text() for file in files]
    repository = LocalRepository(tmp_path / "shared", db_url=db)
    (entry,) = repository.list()
    winners = [line for line in said if line == entry.digest]
    losers = [line for line in said if line.startswith("ConflictError Iris:1 is in the repository")]
    assert (len(winners), len(losers)) == ((CLIENTS, 0) if same else (1, CLIENTS - 1)), said
    assert list(check(repository, read_data=True)) == []
    verify_bundle(repository.find("Iris:1"), digest=entry.digest)
    repository.close()


def is_sound_after(place: dict[str, str], verb: str, bundle: Path, scratch: Path) -> bool:
    """Whether the tag is there, after everything was looked at: it is absent or whole, the verb works now, gc clears up."""
    repository = clients.open_place(place)
    there = [str(entry.tag) for entry in repository.list()]
    assert there in ([], ["Iris:1"])
    assert {problem.kind for problem in check(repository, read_data=True)} <= {"leftover"}
    if there:
        verify_bundle(repository.retrieve("Iris:1", scratch))
    if verb != "delete":
        repository.push(bundle)
    elif there:
        repository.delete("Iris:1")
    list(gc(repository, min_age=0))
    assert list(check(repository, read_data=True)) == []
    assert [str(entry.tag) for entry in repository.list()] == ([] if verb == "delete" else ["Iris:1"])
    return bool(there)


@pytest.mark.parametrize(("verb", "step"), [("push", 4), ("pull", 4), ("delete", 1)])
def test_a_client_killed_at_any_instant_leaves_the_tag_absent_or_whole(
    verb: str, step: int, start: Start, tmp_path: Path
) -> None:
    """At one file operation or database statement after the other."""
    bundle = make_bundle(tmp_path / "b")
    LocalRepository(tmp_path / "other").push(bundle)
    seen = []
    for instant in range(1, 500, step):
        place = {"folder": str(tmp_path / f"at{instant}")}
        if verb == "delete":
            clients.open_place(place).push(bundle)
        process = start(clients.killed, instant, verb, place, str(bundle), str(tmp_path / "other"))
        process.join()
        assert process.exitcode in (0, -9)
        if process.exitcode == 0:
            break
        seen.append(is_sound_after(place, verb, bundle, tmp_path / f"copy{instant}"))
    assert process.exitcode == 0, "the verb has more instants than the test"
    assert len(seen) > 10
    assert set(seen) == {True, False}


def test_a_push_to_a_bucket_killed_at_any_instant_is_not_listed_half(start: Start, tmp_path: Path, bucket: str) -> None:
    """The upload is a leftover, which no listing shows, until its entry makes it the bundle."""
    bundle = make_bundle(tmp_path / "b")
    seen = []
    for instant in range(10, 500, 12):
        place = {"db": f"sqlite:///{tmp_path}/{instant}.db", "storage": f"{bucket}/at{instant}"}
        process = start(clients.killed, instant, "push", place, str(bundle), str(tmp_path / "other"))
        process.join()
        assert process.exitcode in (0, -9)
        if process.exitcode == 0:
            break
        seen.append(is_sound_after(place, "push", bundle, tmp_path / f"copy{instant}"))
    assert process.exitcode == 0, "the push has more instants than the test"
    assert len(seen) > 3
