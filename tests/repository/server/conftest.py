"""This module gives each server test a repository, the server's application, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from bentobatch.repository.local import LocalRepository
from bentobatch.repository.server.app import create_app
from tests.repository.server.serving import served


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[LocalRepository]:
    """The repository behind the server."""
    repository = LocalRepository(tmp_path / "stored")
    yield repository
    repository.close()


@pytest.fixture
def app(stored: LocalRepository) -> Flask:
    """A server without tokens, on loopback."""
    return create_app(stored)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    """The same, at a real socket."""
    with served(app) as found:
        yield found
