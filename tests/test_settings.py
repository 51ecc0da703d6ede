"""This module tests the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from bentobatch.errors import StorageError, UsageError
from bentobatch.settings import read_settings, write_config


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


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    """And an empty variable is none."""
    write_config(tmp_path / "config.yml", {"repository_url": "http://file", "policy": "/file"})
    environ = {"BENTOBATCH_HOME": str(tmp_path), "BENTOBATCH_REPOSITORY_URL": "http://env", "BENTOBATCH_POLICY": ""}
    settings = read_settings(environ)
    assert (settings.repository_url, settings.policy, settings.repository_token) == ("http://env", "/file", None)


def test_the_file_is_for_its_owner_only_and_the_token_is_not_shown(tmp_path: Path) -> None:
    """It may hold a token."""
    write_config(tmp_path / "home" / "config.yml", {"repository_token": "secret-token"})
    assert (tmp_path / "home" / "config.yml").stat().st_mode & 0o777 == 0o600
    settings = read_settings({"BENTOBATCH_HOME": str(tmp_path / "home")})
    assert settings.repository_token == "secret-token"
    assert "secret-token" not in repr(settings)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["config.yml"]


@pytest.mark.parametrize(
    "text", ["[1]", "a: b: c", "policy: 5", "unknown: x", "policy: [x]", "x", "policy: !!python/name:os.x"]
)
def test_a_malformed_file_is_a_usage_error_that_names_it(text: str, tmp_path: Path) -> None:
    """A policy that is silently ignored would be a hole."""
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(UsageError, match=r"config\.yml"):
        read_settings({"BENTOBATCH_HOME": str(tmp_path)})


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    """As one that is not there."""
    (tmp_path / "config.yml").write_text("\n")
    assert read_settings({"BENTOBATCH_HOME": str(tmp_path)}).policy is None


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Exit 74."""
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        write_config(tmp_path / "home" / "config.yml", {})
