"""This module reads the settings of this machine's user: from the environment, else from the file ``<home>/config.yml``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bentobatch.errors import StorageError, UsageError

CONFIG_FILE = "config.yml"

KEYS: dict[str, str] = {
    "repository_url": "the repository that tags are looked up in: a server's URL or a folder  [default: <home>/repository]",
    "repository_token": "the token that the repository server asks for",
    "policy": "the file that says which bundles may be run here  [default: any]",
}
"""What the configuration file may hold, and what it means. BENTOBATCH_ and the key in capitals is the variable that
comes before it."""

SECRET_KEYS = frozenset({"repository_token"})
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Settings:
    """What the environment and the file say. ``home`` is an absolute path, which need not exist yet; None and an empty
    text in the file or the environment are the default."""

    home: Path
    repository_url: str | None = None
    repository_token: str | None = field(default=None, repr=False)
    policy: str | None = None

    @property
    def repository(self) -> Path:
        """The folder of the local repository: one folder NAME/VERSION for each saved bundle."""
        return self.home / "repository"

    @property
    def config_file(self) -> Path:
        """The file that ``bentobatch config`` shows and changes."""
        return self.home / CONFIG_FILE


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings as ``environ`` (default: this process's) and the file have them now; nothing is remembered or created.

    BENTOBATCH_HOME: the home folder, ``~/bentobatch`` where it is unset or empty. The others: see KEYS.

    Raises:
        UsageError: the file is malformed, or has a key that is unknown.
        StorageError: the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    text = environ.get("BENTOBATCH_HOME") or "~/bentobatch"
    try:
        home = Path(os.path.abspath(Path(text).expanduser()))
    except RuntimeError as error:  # no $HOME and no such user
        raise UsageError(f"the home folder {text!r} has no known owner: set BENTOBATCH_HOME to a path") from error
    values = read_config(home / CONFIG_FILE)
    for key in KEYS:
        values[key] = environ.get(variable(key)) or values.get(key, "")
    return Settings(home=home, **{key: value or None for key, value in values.items()})


def variable(key: str) -> str:
    """The environment variable that sets ``key``."""
    return f"BENTOBATCH_{key.upper()}"


def read_config(file: Path) -> dict[str, str]:
    """What the configuration file says, by the keys of KEYS; nothing where there is no file.

    Raises: as ``read_settings``.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise StorageError(
            f"the configuration {str(file)!r} cannot be read: {error.strerror}; check its rights"
        ) from error
    import yaml  # here and not above: importing the package must cost next to nothing, and few have such a file

    try:
        content = yaml.safe_load(data) if len(data) <= _MOST_BYTES else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"the configuration {str(file)!r} is no YAML: {' '.join(str(error).split())[:200]}") from error
    if content is None and not data.strip():
        return {}
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise UsageError(f"the configuration {str(file)!r} is no list of `key: text`; correct or remove it")
    for key in content:
        check_key(key, where=f"the configuration {str(file)!r}")
    return content


def write_config(file: Path, values: Mapping[str, str]) -> None:
    """Replace the configuration file, at once, with one that holds ``values``. Only its owner can read it.

    Raises:
        StorageError: it cannot be written.
    """
    import yaml  # as in read_config

    text = yaml.safe_dump(dict(values), allow_unicode=True)
    temporary = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=file.parent, prefix=f".{file.name}-", delete=False, encoding="utf-8"
        ) as stream:  # 0600
            temporary = stream.name
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(f"the configuration {str(file)!r} cannot be written: {error.strerror}") from error


def check_key(key: str, *, where: str = "the configuration") -> str:
    """``key`` itself, when it is one of KEYS.

    Raises:
        UsageError: it is none.
    """
    if key not in KEYS:
        raise UsageError(f"{where} has no key {str(key)[:80]!r}; the keys are {', '.join(KEYS)}")
    return key
