"""This module finds interpreters on this machine and asks them what they are and what is installed for them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from bentobatch.errors import MissingDependencyError, UsageError

OLDEST = (3, 10)
"""The first Python that bentobatch itself runs on."""
OLDEST_OF_MODELS = (3, 7)
"""The first Python that can hold models for it; see frameworks.hosted_models."""
_ANSWER_SECONDS = 60
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.\d+\S*)?")
_OWN_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*>=\s*([\d.]+)\s*")
_ASK = """
import json, platform, sys, sysconfig
found = {}
try:
    from importlib import metadata
    for item in metadata.distributions():
        found.setdefault(str(item.metadata["Name"]), str(item.version))
except ImportError:  # before 3.8
    try:
        import pkg_resources
        found.update((item.project_name, item.version) for item in pkg_resources.working_set)
    except ImportError:
        pass
print(json.dumps({
    "version": platform.python_version(), "prefix": sys.prefix, "base": sys.base_prefix,
    "platform": sysconfig.get_platform(), "kind": sys.implementation.cache_tag, "packages": found,
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """One that starts. ``path`` is as it was found (that of a virtual environment is its own, not the one it links to),
    ``version`` such as "3.11.7", ``kind`` such as "cpython-311"; ``packages`` are the installed distributions' versions
    by their normalised names."""

    path: str
    version: str
    kind: str
    platform: str
    packages: tuple[tuple[str, str], ...]

    @property
    def minor(self) -> tuple[int, int]:
        """The first two numbers of its version."""
        return minor_of(self.version)

    @property
    def for_models_only(self) -> bool:
        """Whether it is too old for bentobatch itself."""
        return self.minor < OLDEST


def minor_of(version: str) -> tuple[int, int]:
    """(3, 11) for "3.11" and "3.11.7".

    Raises:
        UsageError: it is no version.
    """
    match = _VERSION.fullmatch(version.strip())
    if match is None:
        raise UsageError(f"{version!r} is no version of Python such as 3.11 or 3.11.7")
    return int(match[1]), int(match[2])


def ask(path: str) -> Interpreter | None:
    """What the interpreter ``path`` is; None where it does not start, as commands of version managers may not."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", _ASK],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
        )
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    if not isinstance(answer, dict):
        return None
    packages = {_normalised(name): version for name, version in answer["packages"].items()}
    return Interpreter(path, answer["version"], answer["kind"], answer["platform"], tuple(sorted(packages.items())))


def find(wanted: str, *, whose: str) -> Interpreter:
    """An interpreter of the version ``wanted`` ("3.11", "3.11.7": the first two numbers count), or at the path ``wanted``.

    Looked for, in this order: this one, ``pythonX.Y`` on PATH, the versions of pyenv, those that uv knows.
    ``whose`` says in messages who wants it.

    Raises:
        MissingDependencyError: there is none.
    """
    if os.sep in wanted:
        found = ask(wanted)
        if found is None:
            raise MissingDependencyError(f"{wanted} is no Python that starts: name another interpreter")
        return found
    minor = minor_of(wanted)
    short = f"{minor[0]}.{minor[1]}"
    for path in _candidates(minor, short):
        found = ask(path)
        if found is not None and found.minor == minor:
            return found
    raise MissingDependencyError(
        f"{whose} wants Python {short}, and there is none on this machine (looked for python{short} on PATH, in pyenv's "
        f"versions and in uv's list): install it, such as by `uv python install {short}`, or name another one with "
        "--env bundle:VERSION or --env bundle:PATH"
    )


def _candidates(minor: tuple[int, int], short: str) -> list[str]:
    found = [sys.executable] if sys.version_info[:2] == minor else []
    on_path = shutil.which(f"python{short}")
    found += [] if on_path is None else [on_path]
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    if versions.is_dir():
        patches = [path for path in versions.glob(f"{short}.*") if path.name.removeprefix(f"{short}.").isdigit()]
        patches.sort(key=lambda path: int(path.name.rpartition(".")[2]), reverse=True)
        found += [str(path / "bin" / f"python{short}") for path in patches]
    return [*found, *_of_uv(short)]


def _of_uv(short: str) -> list[str]:
    uv = shutil.which("uv")
    if uv is None:
        return []
    done = subprocess.run(
        [uv, "python", "find", "--no-python-downloads", "--no-project", short],
        check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ANSWER_SECONDS,
    )  # fmt: skip
    return [done.stdout.strip()] if done.returncode == 0 and done.stdout.strip() else []


@lru_cache(maxsize=1)
def own_requirements() -> tuple[str, ...]:
    """What bentobatch itself needs, without its extras: lines such as ``numpy>=1.26``.

    Raises:
        MissingDependencyError: it is not installed as a distribution, and cannot tell.
    """
    try:
        listed = metadata.requires("bentobatch") or []
    except metadata.PackageNotFoundError:
        raise MissingDependencyError(
            "bentobatch is imported from a folder and not installed, so nothing says what another environment needs for"
            " it: pip install it"
        ) from None
    return tuple(sorted(line for line in listed if ";" not in line))


def needed_beside(interpreter: Interpreter) -> tuple[str, ...]:
    """What an environment of this interpreter needs beside what a bundle asks for: bentobatch's own requirements; where the
    interpreter can only hold models, what their values and their pickles need."""
    return ("cloudpickle", "numpy") if interpreter.for_models_only else own_requirements()


def check_age(interpreter: Interpreter, *, where: str) -> None:
    """Refuse an interpreter that is too old even for models; ``where`` names the environment.

    Raises:
        MissingDependencyError: it is.
    """
    if interpreter.minor < OLDEST_OF_MODELS:
        raise MissingDependencyError(
            f"{where} is of Python {interpreter.version}, and models are run by 3.7 and later: name a newer one, such as "
            "--env bundle:3.8"
        )


def check(interpreter: Interpreter, *, where: str) -> None:
    """Refuse an interpreter, of a Python that bentobatch runs on, for want of libraries; ``where`` names the environment.

    Raises:
        MissingDependencyError: it lacks some, or has them too old.
    """
    have = dict(interpreter.packages)
    missing: list[str] = []
    for line in own_requirements():
        match = _OWN_REQUIREMENT.fullmatch(line)
        assert match is not None, line
        version = have.get(_normalised(match[1]))
        if version is None or _numbers(version) < _numbers(match[2]):
            missing.append(f"{match[1]}>={match[2]}")
    if missing:
        raise MissingDependencyError(
            f"{where} lacks libraries that bentobatch needs: {interpreter.path} -m pip install "
            + " ".join(f"'{line}'" for line in missing)
        )


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in release[0].split(".")) if release else ()


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
