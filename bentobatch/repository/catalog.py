"""This module is the catalog: which bundles there are, where they lie, and their labels, in SQLite or PostgreSQL.

Whoever changes something holds the lock of the tag for the length of one short transaction, so that the storage may be
changed along with it: in SQLite that is the one lock for writers, in PostgreSQL one for each tag.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Select,
    create_engine,
    delete,
    event,
    exc,
    exists,
    insert,
    inspect,
    select,
)
from sqlalchemy import text as sql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from bentobatch.errors import MissingDependencyError, StorageError, UnavailableError, UsageError
from bentobatch.labels import Requirement, Selector
from bentobatch.repository.entry import Entry
from bentobatch.repository.schema import BUNDLES, LABELS, REVISION
from bentobatch.tags import Tag

_WAIT = 60
"""Seconds that a writer waits for another one; each holds the lock for a rename and a few rows."""
_SQLITE = "sqlite:///"
_VERSION_TABLE = "alembic_version"
_WRITES = "bentobatch_writes"


class Catalog:
    """The tables at ``url``, a database URL as SQLAlchemy takes it; made or brought up to date when first used.

    Raises, from all methods: UnavailableError where the database does not answer, StorageError where it fails otherwise.
    """

    def __init__(self, url: str) -> None:
        self.url = _checked(url)
        self.where = self.url.render_as_string(hide_password=True)
        self._engine: Engine | None = None

    @property
    def file(self) -> Path | None:
        """The file of a SQLite catalog."""
        return Path(self.url.database) if self.url.get_backend_name() == "sqlite" and self.url.database else None

    def close(self) -> None:
        """Close what connections are open; the next use opens new ones."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    # -- reading --------------------------------------------------------------------------------------------------

    def find(
        self,
        name: str | None,
        selector: Selector,
        *,
        limit: int | None,
        offset: int,
        order_by: str,
        ascending: bool,
    ) -> list[tuple[Entry, str]]:
        """The entries that are asked for (see Repository.list), each with its location; ``uri`` is left empty."""
        query = select(BUNDLES).where(*(_condition(requirement) for requirement in selector.requirements))
        if name is not None:
            query = query.where(BUNDLES.c.name == name)
        created, version = BUNDLES.c.created_at, BUNDLES.c.version
        order = [created.asc(), version.asc()] if ascending else [created.desc(), version.desc()]
        query = query.order_by(*([BUNDLES.c.name] if order_by == "name" else []), *order, BUNDLES.c.name)
        with self.reading() as connection:
            return _entries(connection, query.limit(limit).offset(offset))

    def get(self, tag: Tag, connection: Connection | None = None) -> tuple[Entry, str] | None:
        """One entry and its location; of the latest the newest by ``created_at``, then by the version's text."""
        query = select(BUNDLES).where(BUNDLES.c.name == tag.name)
        if tag.is_latest:
            query = query.order_by(BUNDLES.c.created_at.desc(), BUNDLES.c.version.desc()).limit(1)
        else:
            query = query.where(BUNDLES.c.version == tag.version)
        if connection is not None:
            return next(iter(_entries(connection, query)), None)
        with self.reading() as opened:
            return next(iter(_entries(opened, query)), None)

    def locations(self) -> dict[str, Tag]:
        """Where all bundles lie."""
        query = select(BUNDLES.c.location, BUNDLES.c.name, BUNDLES.c.version)
        with self.reading() as connection:
            return {location: Tag(name, version) for location, name, version in connection.execute(query)}

    # -- changing, within ``changing`` ----------------------------------------------------------------------------

    @contextmanager
    def changing(self, tag: Tag) -> Iterator[Connection]:
        """A transaction that holds the lock of the tag; it is committed at the end, or undone after an error."""
        with self._connected(writes=True) as connection:
            self._lock(connection, str(tag))
            yield connection

    def add(self, connection: Connection, entry: Entry, location: str) -> None:
        """Enter a bundle, with its labels."""
        row = connection.execute(
            insert(BUNDLES)
            .values(
                name=entry.name,
                version=entry.version,
                digest=entry.digest,
                location=location,
                size=entry.size,
                created_at=entry.created_at,
                entered_at=datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None),
                metadata=json.dumps(dict(entry.metadata)),
            )
            .returning(BUNDLES.c.id)
        )
        self._put_labels(connection, row.scalar_one(), entry.labels)

    def remove(self, connection: Connection, tag: Tag) -> None:
        """Forget a bundle, and its labels."""
        ids = select(BUNDLES.c.id).where(BUNDLES.c.name == tag.name, BUNDLES.c.version == tag.version)
        connection.execute(delete(LABELS).where(LABELS.c.bundle_id.in_(ids)))
        connection.execute(delete(BUNDLES).where(BUNDLES.c.name == tag.name, BUNDLES.c.version == tag.version))

    def set_labels(self, connection: Connection, tag: Tag, labels: Mapping[str, str], unset: Collection[str]) -> None:
        """Set some labels of a bundle that is there, and remove others."""
        query = select(BUNDLES.c.id).where(BUNDLES.c.name == tag.name, BUNDLES.c.version == tag.version)
        number = connection.execute(query).scalar_one()
        gone = {*labels, *unset}
        connection.execute(delete(LABELS).where(LABELS.c.bundle_id == number, LABELS.c.key.in_(gone)))
        self._put_labels(connection, number, labels)

    def _put_labels(self, connection: Connection, number: int, labels: Mapping[str, str]) -> None:
        if labels:
            rows = [{"bundle_id": number, "key": key, "value": value} for key, value in labels.items()]
            connection.execute(insert(LABELS), rows)

    # -- connections ----------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that changes nothing."""
        with self._connected(writes=False) as connection:
            yield connection

    @contextmanager
    def _connected(self, *, writes: bool) -> Iterator[Connection]:
        with _database_errors(self.where):
            if self._engine is None:
                self._engine = self._opened()
            with self._engine.connect().execution_options(**{_WRITES: writes}) as connection, connection.begin():
                yield connection

    def _opened(self) -> Engine:
        """An engine for a database whose tables are those of REVISION."""
        engine = _engine(self.url)
        try:
            with engine.connect() as connection:
                found = _revision(connection)
            if found != REVISION:
                with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
                    self._lock(connection, "tables")
                    _migrate(connection, self.where)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _lock(self, connection: Connection, what: str) -> None:
        """SQLite's writers are locked by the beginning of their transaction."""
        if connection.dialect.name == "postgresql":
            number = int.from_bytes(hashlib.sha256(f"bentobatch {what}".encode()).digest()[:8], "big", signed=True)
            connection.execute(sql("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def _checked(text: str) -> URL:
    if text.startswith(_SQLITE):
        path = text.removeprefix(_SQLITE)
        if not path or path.startswith((":memory:", "file:")) or "\0" in path:
            raise UsageError("a catalog in SQLite needs a file: give sqlite:///PATH")
        return URL.create("sqlite", database=os.path.abspath(path))  # all of it is the path, a "?" in it too
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):  # their messages show the text, which may hold a password
        url = None
    if url is None or url.drivername.partition("+")[0] not in ("postgresql", "postgres"):
        raise UsageError("a catalog's URL is sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return url.set(drivername="postgresql+psycopg")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": _WAIT})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return create_engine(url, pool_pre_ping=True, pool_size=5, max_overflow=20)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"a catalog in PostgreSQL needs the library {error.name}: pip install 'bentobatch[repository,postgresql]'"
        ) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Transactions begin when ``_begin_sqlite`` says so, and not when Python's sqlite3 thinks fit."""
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    # a writer that began as a reader could not become one while another waits, and would fail instead of waiting
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    found = connection.execute(sql(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar()  # noqa: S608 - a constant
    return None if found is None else str(found)


def _migrate(connection: Connection, where: str) -> None:
    """Run the steps that the database lacks, in the transaction of ``connection``.

    Raises:
        UsageError: the tables are of a later bentobatch.
    """
    found = _revision(connection)
    if found == REVISION:
        return  # somebody else was quicker
    if found is not None and found > REVISION:
        raise UsageError(
            f"the catalog {where} was made by a later bentobatch (its tables are {found}, this one knows {REVISION}): "
            "install that version"
        )
    from alembic import command  # here and not above: it is slow to import, and needed once
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _condition(requirement: Requirement) -> Any:
    wanted = [LABELS.c.bundle_id == BUNDLES.c.id, LABELS.c.key == requirement.key]
    if requirement.values:
        wanted.append(LABELS.c.value.in_(requirement.values))
    there = exists().where(*wanted)
    return there if requirement.operator in ("In", "Exists") else ~there


def _entries(connection: Connection, query: Select[Any]) -> list[tuple[Entry, str]]:
    rows = connection.execute(query).all()
    labels: dict[int, dict[str, str]] = {row.id: {} for row in rows}
    for start in range(0, len(rows), 500):  # SQLite bounds how many values one statement takes
        ids = [row.id for row in rows[start : start + 500]]
        found = select(LABELS).where(LABELS.c.bundle_id.in_(ids)).order_by(LABELS.c.key)
        for label in connection.execute(found):
            labels[label.bundle_id][label.key] = label.value
    return [(_entry(row, labels[row.id]), row.location) for row in rows]


def _entry(row: Row[Any], labels: Mapping[str, str]) -> Entry:
    fields = row._mapping
    return Entry(
        name=fields["name"],
        version=fields["version"],
        digest=fields["digest"],
        size=fields["size"],
        created_at=fields["created_at"],
        uri="",
        labels=labels,
        metadata=json.loads(fields["metadata"]),
    )


@contextmanager
def _database_errors(where: str) -> Iterator[None]:
    """Turns what SQLAlchemy raises into one line; the driver's text, which may tell hosts and users, is kept short."""
    try:
        yield
    except exc.OperationalError as error:
        if where.startswith("sqlite") and "locked" not in str(error):  # a full disk, rights, a damaged file
            raise StorageError(f"the catalog {where} cannot be used: {_line(error)}") from None
        raise UnavailableError(f"the catalog {where} does not answer: {_line(error)}; try again") from None
    except exc.SQLAlchemyError as error:
        raise StorageError(f"the catalog {where} cannot be used: {_line(error)}") from None
    except OSError as error:
        raise StorageError(f"the catalog {where} cannot be used: {error.strerror or error}") from None


def _line(error: exc.SQLAlchemyError) -> str:
    text = str(getattr(error, "orig", None) or error)
    return " ".join(text.split())[:200]
