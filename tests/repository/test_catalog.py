"""This module tests the catalog's tables, its URL, and the selectors in SQL."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bentobatch.errors import StorageError, UnavailableError, UsageError
from bentobatch.labels import Requirement, Selector
from bentobatch.repository import migrations
from bentobatch.repository.catalog import Catalog
from bentobatch.repository.entry import Entry
from bentobatch.repository.local import LocalRepository
from bentobatch.repository.schema import METADATA, REVISION
from bentobatch.tags import Tag
from tests.repository.making import make_bundle

WORDS = st.sampled_from(["a", "b", "c"])
SETS = st.lists(st.dictionaries(WORDS, WORDS, max_size=3), max_size=6)
REQUIREMENTS = st.builds(
    lambda key, operator, values: Requirement(key, operator, tuple(sorted(values)) if operator.endswith("In") else ()),
    WORDS,
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.sets(WORDS, min_size=1, max_size=2),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/catalog.db" if request.param == "sqlite" else request.getfixturevalue("postgresql")


def entry(number: int, labels: dict[str, str]) -> Entry:
    return Entry("Iris", str(number), "0" * 64, 1, datetime.datetime(2026, 1, 1), "", labels)


def found(catalog: Catalog, selector: Selector) -> set[int]:
    rows = catalog.find(None, selector, limit=None, offset=0, order_by="name", ascending=True)
    return {int(one.version) for one, _ in rows}


def test_the_steps_make_the_tables_that_the_code_describes(url: str) -> None:
    """A change of schema.py without a step, or the other way round, is found here."""
    catalog = Catalog(url)
    with catalog.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert context.get_current_revision() == REVISION
        assert compare_metadata(context, METADATA) == []
    catalog.close()


def test_the_newest_step_is_the_one_that_the_code_asks_for() -> None:
    """REVISION is raised along with it."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_a_catalog_of_a_later_version_is_left_alone(url: str) -> None:
    """Instead of being read as what it is not."""
    catalog = Catalog(url)
    with catalog.changing(Tag("Iris", "1")) as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
    catalog.close()
    with pytest.raises(UsageError, match="later bentobatch"):
        Catalog(url).locations()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(SETS, st.lists(REQUIREMENTS, max_size=3))
def test_a_selector_in_sql_means_what_it_means_in_python(tmp_path: Path, sets: object, requirements: object) -> None:
    """On any labels, for any requirements."""
    catalog = Catalog(f"sqlite:///{tmp_path}/catalog.db")
    with catalog.changing(Tag("Iris", "0")) as connection:
        for number in range(6):
            catalog.remove(connection, Tag("Iris", str(number)))
        for number, labels in enumerate(sets):
            catalog.add(connection, entry(number, labels), f"at/{number}")
    selector = Selector(tuple(requirements))
    assert found(catalog, selector) == {number for number, labels in enumerate(sets) if selector.matches(labels)}


def test_selectors_in_postgresql_mean_the_same(postgresql: str) -> None:
    """Each operator, on labels that have the key and on none."""
    catalog = Catalog(postgresql)
    sets = [{"a": "x"}, {"a": "y"}, {"b": "x"}, {}]
    with catalog.changing(Tag("Iris", "0")) as connection:
        for number, labels in enumerate(sets):
            catalog.add(connection, entry(number, labels), f"at/{number}")
    for text in (
        "a=x",
        "a!=x",
        "a In (x, y)",
        "a NotIn (x, y)",
        "a Exists",
        "a DoesNotExist",
        "a!=x, b DoesNotExist",
        "",
    ):
        selector = Selector.parse(text)
        assert found(catalog, selector) == {n for n, labels in enumerate(sets) if selector.matches(labels)}, text
    catalog.close()


def test_a_thousand_bundles_are_listed_with_their_labels(tmp_path: Path) -> None:
    """More than one statement's values."""
    catalog = Catalog(f"sqlite:///{tmp_path}/catalog.db")
    with catalog.changing(Tag("Iris", "0")) as connection:
        for number in range(1_200):
            catalog.add(connection, entry(number, {"n": str(number)}), f"at/{number}")
    rows = catalog.find(None, Selector(), limit=None, offset=0, order_by="created_at", ascending=True)
    assert [one.labels for one, _ in rows] == [{"n": one.version} for one, _ in rows]
    assert len(rows) == 1_200


@pytest.mark.parametrize("url", ["", "nothing", "mysql://u:geheim@h/d", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?y",
                                 "postgresql://u:geheim@h:port/d", "://geheim"])  # fmt: skip
def test_a_url_that_is_no_catalog_is_a_usage_error_without_the_password(url: str) -> None:
    """Before anything is opened."""
    with pytest.raises(UsageError) as caught:
        Catalog(url)
    assert "geheim" not in str(caught.value)


def test_a_database_that_does_not_answer_is_told_without_the_password(tmp_path: Path) -> None:
    """Exit 69."""
    repository = LocalRepository(tmp_path, db_url="postgresql://user:geheim@127.0.0.1:1/test")
    with pytest.raises(UnavailableError, match="does not answer") as caught:
        repository.list()
    assert "geheim" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_told(home: Path, tmp_path: Path) -> None:
    """Exit 74; a run by tag does not care."""
    make_bundle(home / "repository/Iris/1")
    (home / "catalog.db").write_text("this is no database" * 100)
    with pytest.raises(StorageError, match=r"catalog\.db cannot be used"):
        LocalRepository().list()
    assert LocalRepository().find(Tag("Iris")) == home / "repository/Iris/1"


def test_a_path_with_odd_characters_is_a_catalog(tmp_path: Path) -> None:
    """A blank, a percent sign and a question mark in the home's name."""
    folder = tmp_path / "a b%20c?d=e#f"
    repository = LocalRepository(folder)
    repository.push(make_bundle(tmp_path / "b"))
    assert (folder / ".catalog.db").is_file()
    assert [entry.name for entry in LocalRepository(folder).list()] == ["Iris"]
