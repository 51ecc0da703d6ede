"""This module gives each repository test a home of its own, and databases and storages of several kinds."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy

POSTGRESQL = os.environ.get("BENTOBATCH_TEST_POSTGRESQL", "postgresql://root@127.0.0.1:5432/test")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The URL of a schema of its own in the real server; skipped where there is none, but not in CI."""
    schema = f"bentobatch_{secrets.token_hex(6)}"
    engine = sqlalchemy.create_engine(POSTGRESQL.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    except sqlalchemy.exc.OperationalError:
        engine.dispose()
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("no PostgreSQL here; BENTOBATCH_TEST_POSTGRESQL names one")
    try:
        yield f"{POSTGRESQL}?options=-csearch_path%3D{schema}"
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
        engine.dispose()


KINDS = ("home", "sqlite and memory", "postgresql and folder", "postgresql and memory")


@pytest.fixture
def open_kind(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., object]]:
    """Opens the repository of one of KINDS, each time as another process would."""
    from bentobatch.repository.local import LocalRepository
    from bentobatch.repository.opening import storage_of

    memory = f"memory://{secrets.token_hex(6)}/prefix"
    opened = []

    def open_it(kind: str) -> LocalRepository:
        storage = storage_of(memory) if kind.endswith("memory") else None
        if kind == "home":
            repository = LocalRepository()
        elif kind.startswith("postgresql"):
            folder = None if storage else tmp_path / "shared"
            repository = LocalRepository(folder, db_url=request.getfixturevalue("postgresql"), storage=storage)
        else:
            repository = LocalRepository(db_url=f"sqlite:///{tmp_path}/some/catalog.db", storage=storage)
        opened.append(repository)
        return repository

    yield open_it
    for repository in opened:
        repository.close()


@pytest.fixture(params=KINDS)
def repository(request: pytest.FixtureRequest, open_kind: Callable[..., object]) -> object:
    """An empty repository, of each kind."""
    return open_kind(request.param)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of an S3 server."""
    from tests.faults.s3_server import S3Server

    server = S3Server()
    yield server.url
    server.close()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket there, which this process and its children reach by their environment."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{secrets.token_hex(6)}"
    s3fs.S3FileSystem(endpoint_url=s3, key="key", secret="secret", skip_instance_cache=True).mkdir(name)
    return f"s3://{name}"
