"""This module tests that things are found by name, and only then imported."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bentobatch import plugins
from bentobatch.errors import MissingDependencyError, UsageError

REGISTERED = [(kind, name) for kind, table in plugins.TABLES.items() for name in table]


@pytest.mark.parametrize(("kind", "name"), REGISTERED)
def test_every_registered_name_is_there(kind: str, name: str) -> None:
    """The tables are text, which no type checker looks into."""
    found = plugins.find(kind, name)
    assert isinstance(found, type)
    assert found.__name__ == plugins.TABLES[kind][name].target.partition(":")[2]


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    """A typing error is seen at once."""
    with pytest.raises(UsageError, match=r"no framework is named 'Sklearn'.*SklearnModelArtifact"):
        plugins.find("frameworks", "Sklearn")


def test_an_entry_point_of_another_distribution_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Group ``bentobatch.<kind>``."""
    entry = EntryPoint("Special", "collections:OrderedDict", "bentobatch.adapters")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == "bentobatch.adapters" else [])
    assert plugins.find("adapters", "Special").__name__ == "OrderedDict"
    with pytest.raises(UsageError):
        plugins.find("frameworks", "Special")


def test_a_missing_library_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hint of the table, or else the library's name."""
    (tmp_path / "plugin_of_the_test.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    table = {
        "Hinted": plugins.Plugin("plugin_of_the_test:Thing", "pip install special"),
        "Plain": plugins.Plugin("plugin_of_the_test:Thing"),
    }
    monkeypatch.setitem(plugins.TABLES, "formats", table)
    with pytest.raises(MissingDependencyError, match=r"Hinted needs the library no_such_library.*pip install special"):
        plugins.find("formats", "Hinted")
    with pytest.raises(MissingDependencyError, match="pip install no_such_library"):
        plugins.find("formats", "Plain")


def test_a_mistake_of_our_own_is_not_taken_for_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong entry of the table must not tell users to install bentobatch."""
    monkeypatch.setitem(plugins.TABLES, "formats", {"Wrong": plugins.Plugin("bentobatch.no_such_module:Thing")})
    with pytest.raises(ModuleNotFoundError):
        plugins.find("formats", "Wrong")


def test_the_tables_import_nothing() -> None:
    """Listing what exists costs nothing."""
    code = "import sys, bentobatch.plugins; print([m for m in ('numpy', 'pandas', 'pyarrow') if m in sys.modules])"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
