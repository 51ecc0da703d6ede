"""This module is what other processes do to a repository in its tests: push along with others, and be killed."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401 - here, so that its import is none of the instants
import sqlalchemy.dialects.postgresql
import sqlalchemy.engine
import sqlalchemy.event

import bentobatch.repository.catalog
import bentobatch.repository.url_storage  # noqa: F401 - as above
from bentobatch.errors import BentobatchError
from bentobatch.repository.local import LocalRepository
from bentobatch.repository.opening import storage_of

FILE_EVENTS = {
    "open",
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "shutil.rmtree",
    "sqlite3.connect",
    "socket.connect",
}


def push(environ: dict[str, str], folder: str, db: str, bundle: str, together: Barrier, said: str) -> None:
    """Push when all have come to the barrier; what came of it goes into the file ``said``."""
    os.environ.update(environ)
    repository = LocalRepository(Path(folder), db_url=db)
    together.wait()
    try:
        answer = repository.push(bundle).digest
    except BentobatchError as error:
        answer = f"{type(error).__name__} {error}"
    Path(said).write_text(answer)


def killed(environ: dict[str, str], instant: int, verb: str, place: dict[str, str], bundle: str, other: str) -> None:
    """Do ``verb``, and be killed at the file operation or database statement of that number."""
    os.environ.update(environ)
    repository, source = open_place(place), LocalRepository(Path(other))
    if verb != "push":
        repository.list()
        source.list()
    left = instant

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audited(name: str, _arguments: Any) -> None:
        if name in FILE_EVENTS:
            count()

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, name, count)
    sys.addaudithook(audited)
    if verb == "push":
        repository.push(bundle, labels={"a": "b"})
    elif verb == "pull":
        source.pull("Iris:1", repository)
    else:
        repository.delete("Iris:1")
    os._exit(0)  # what comes after the verb is no instant of it


def open_place(place: dict[str, str]) -> LocalRepository:
    """A folder with its own catalog, or a storage elsewhere with a catalog here."""
    if "folder" in place:
        return LocalRepository(Path(place["folder"]))
    return LocalRepository(db_url=place["db"], storage=storage_of(place["storage"]))
