"""This module tests the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from bentobatch.errors import UsageError
from bentobatch.settings import read_settings


def test_the_home_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is remembered from the import or from an earlier call."""
    for name in ("one", "two"):
        monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / name))
        assert read_settings().home == tmp_path / name
        assert read_settings().repository == tmp_path / name / "repository"


@pytest.mark.parametrize("environ", [{}, {"BENTOBATCH_HOME": ""}])
def test_the_home_is_in_the_users_home_by_default(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset and empty mean the same."""
    monkeypatch.setenv("HOME", "/somewhere")
    assert read_settings(environ).home == Path("/somewhere/bentobatch")


def test_a_tilde_and_a_relative_path_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker with another working directory sees the same home."""
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.chdir(tmp_path)
    assert read_settings({"BENTOBATCH_HOME": "~/x"}).home == Path("/somewhere/x")
    assert read_settings({"BENTOBATCH_HOME": "a/../x"}).home == tmp_path / "x"


def test_a_home_of_nobody_is_refused() -> None:
    """A user that does not exist."""
    with pytest.raises(UsageError, match="BENTOBATCH_HOME"):
        read_settings({"BENTOBATCH_HOME": "~no_such_user_of_this_machine/x"})


def test_reading_creates_nothing(tmp_path: Path) -> None:
    """The home need not exist."""
    assert not read_settings({"BENTOBATCH_HOME": str(tmp_path / "home")}).home.exists()
    assert list(tmp_path.iterdir()) == []
