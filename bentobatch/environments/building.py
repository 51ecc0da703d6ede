"""This module builds virtual environments below BENTOBATCH_HOME, each once: whole, or not to be found.

An environment cannot be renamed into place, since its scripts know where they lie. So it is built where it stays, under
a lock, and a file that is written last says that it is whole; without that file nobody uses it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bentobatch.environments.interpreters import Interpreter
from bentobatch.errors import BundleError, StorageError
from bentobatch.settings import read_settings

_LOG = logging.getLogger("bentobatch")
FORMAT = 1
_WHOLE = "bentobatch-environment.json"
_QUIET = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONNOUSERSITE": "1"}


def environments_folder() -> Path:
    """Where environments are kept."""
    return read_settings().home / "environments"


def kept_environment(key: Any, interpreter: Interpreter, fill: Callable[[Environment], None], *, what: str) -> str:
    """The interpreter of the environment of this ``key`` (JSON values) and base interpreter, built now if it is not kept.

    ``fill`` installs into the new environment; ``what`` names it in messages. Of two processes that want the same one,
    the second waits for the first.

    Raises:
        BundleError: it cannot be built; the message says what the installer said, and where its log lies.
        StorageError: the folder cannot be written.
    """
    identity = [FORMAT, key, interpreter.version, interpreter.kind, interpreter.platform]
    text = json.dumps(identity, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = environments_folder()
    made = Environment(folder / name, what)
    try:
        if made.whole:
            return made.python
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{name}.lock", what):
            if not made.whole:
                _build(made, interpreter, fill, identity)
    except OSError as error:
        raise StorageError(f"{what} cannot be kept in {folder}: {error.strerror or error}") from error
    return made.python


class Environment:
    """A virtual environment in its folder, whole or in the making."""

    def __init__(self, folder: Path, what: str) -> None:
        self.folder = folder
        self.what = what
        self.log = folder.parent / f"{folder.name}.log"
        self._lent_pip = False

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    @property
    def whole(self) -> bool:
        """Whether it may be used."""
        return (self.folder / _WHOLE).is_file() and os.access(self.python, os.X_OK)

    def create(self, base: Interpreter) -> None:
        """Make it, with nothing installed."""
        uv = shutil.which("uv")
        # this process's pip is quicker to have, but knows interpreters of its own time only
        self._lent_pip = not base.for_models_only and importlib.util.find_spec("pip") is not None
        if uv is not None:  # with pip where that will be asked for a wheel (env build), which uv does not make
            seeded = [] if self._lent_pip else ["--seed"]
            self.run([uv, "venv", "--no-project", *seeded, "--python", base.path, str(self.folder)])
        else:
            bare = ["--without-pip"] if self._lent_pip else []
            self.run([base.path, "-I", "-m", "venv", *bare, str(self.folder)])

    def install(self, arguments: Sequence[str], *, cwd: Path | None = None) -> None:
        """``pip install ARGUMENTS``, by uv where it is present. Relative paths are those of ``cwd``."""
        uv = shutil.which("uv")
        if uv is not None:
            self.run([uv, "pip", "install", "--python", self.python, *arguments], cwd=cwd)
        else:
            self.pip("install", *arguments, cwd=cwd)

    def pip(self, verb: str, *arguments: str, cwd: Path | None = None) -> None:
        """``pip VERB ARGUMENTS``, for this environment: by the pip of this process where it may, else by its own."""
        program = (
            [sys.executable, "-m", "pip", "--python", self.python] if self._lent_pip else [self.python, "-m", "pip"]
        )
        self.run([*program, verb, *arguments], cwd=cwd)

    def run(self, command: Sequence[str], *, cwd: Path | None = None) -> None:
        """Run an installer; what it says goes to the log.

        Raises:
            BundleError: it failed.
        """
        with self.log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            start = log.tell()
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env=_surroundings(os.environ),
            )
        if done.returncode:
            with self.log.open("rb") as log:
                log.seek(start)
                said = log.read().decode("utf-8", "replace")
            raise BundleError(f"{self.what} cannot be built: {_reason(said, done.returncode)}; see {self.log}")


def _build(
    made: Environment, interpreter: Interpreter, fill: Callable[[Environment], None], identity: Sequence[Any]
) -> None:
    _LOG.info("building %s of Python %s in %s", made.what, interpreter.version, made.folder)
    shutil.rmtree(made.folder, ignore_errors=True)  # what a build that was killed has left
    made.log.unlink(missing_ok=True)
    try:
        made.create(interpreter)
        fill(made)
        made.folder.joinpath(_WHOLE).write_text(json.dumps({"identity": list(identity), "what": made.what}), "utf-8")
    except BaseException:
        shutil.rmtree(made.folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def _locked(file: Path, what: str) -> Iterator[None]:
    """Hold the lock, which ends with its process, however that dies."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _LOG.info("another process builds %s; waiting for it", what)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _surroundings(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's own, and with it the index that pip is set to, without what leads another interpreter astray."""
    astray = {"PYTHONPATH", "PYTHONHOME", "PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}
    return {name: value for name, value in environ.items() if name not in astray} | _QUIET


def _reason(said: str, status: int) -> str:
    """The line of an installer's output that says why it failed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error:", "× ", "x "))]
    chosen = next((line for line in errors if "resolutionimpossible" not in line.lower()), None)
    line = chosen or (lines[-1] if lines else f"exit status {status}")
    reason = " ".join(line.removeprefix("ERROR:").removeprefix("error:").split())
    return reason if len(reason) <= 300 else f"{reason[:299]}…"
