"""This module reads the settings of this machine's user: at present, where bentobatch keeps its things."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bentobatch.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """What the environment says. ``home`` is an absolute path, which need not exist yet."""

    home: Path

    @property
    def repository(self) -> Path:
        """The folder of the local repository: one folder NAME/VERSION for each saved bundle."""
        return self.home / "repository"


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings as ``environ`` (default: this process's) has them now; nothing is remembered and nothing created.

    BENTOBATCH_HOME: the home folder, ``~/bentobatch`` where it is unset or empty.
    """
    environ = os.environ if environ is None else environ
    text = environ.get("BENTOBATCH_HOME") or "~/bentobatch"
    try:
        home = Path(text).expanduser()
    except RuntimeError as error:  # no $HOME and no such user
        raise UsageError(f"the home folder {text!r} has no known owner: set BENTOBATCH_HOME to a path") from error
    return Settings(home=Path(os.path.abspath(home)))
