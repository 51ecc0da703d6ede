"""This module turns what ``--env`` says into an interpreter that workers can run in.

``bundle`` is an environment with the bundle's own requirements, of the Python that saved it; ``bundle:3.12`` or
``bundle:/path/to/python`` is one of another Python; anything else is the path of an interpreter, of the folder of a virtual
environment, or of an archive that ``bentobatch env build`` made.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from bentobatch.environments import Interpreters
from bentobatch.environments.archives import ARCHIVE_SUFFIX, environment_from_archive
from bentobatch.environments.building import Environment, kept_environment
from bentobatch.environments.interpreters import Interpreter, ask, check, check_age, find, needed_beside
from bentobatch.environments.requirements import Wanted, placed, wanted_of
from bentobatch.errors import UsageError

BUNDLE = "bundle"
CURRENT = "current"


def checked_env(text: str | None) -> str | None:
    """What a job keeps of ``--env``: None for the current environment, and paths absolute.

    Raises:
        UsageError: it names nothing that is there.
    """
    if text is None or text == CURRENT:
        return None
    kind, colon, python = text.partition(":")
    if kind == BUNDLE:
        if colon and not python:
            raise UsageError("--env bundle: needs a Python after the colon, such as bundle:3.11")
        return f"{BUNDLE}:{os.path.abspath(python)}" if os.sep in python else text
    path = os.path.abspath(os.path.expanduser(text))
    if not os.path.exists(path):
        raise UsageError(
            f"--env {text}: there is no such interpreter, environment or archive; it takes current, bundle, or a path"
        )
    return path


@lru_cache(maxsize=16)
def interpreters_for(env: str, bundle: str, digest: str) -> Interpreters:
    """The interpreters that ``env`` (as ``checked_env`` returns it) means for a bundle's folder and digest: one for all
    of it, or where that is too old for bentobatch, for its models.

    It is built first where there is none yet, which takes from seconds to minutes.

    Raises:
        UsageError: there is no such interpreter, or bentobatch cannot run in it.
        BundleError: the environment cannot be built.
    """
    kind, _, python = env.partition(":")
    if kind == BUNDLE:
        wanted = wanted_of(Path(bundle), digest)
        path = environment_of_bundle(wanted, base_for(wanted, python or None))
    elif env.endswith(ARCHIVE_SUFFIX) and os.path.isfile(env):
        path = environment_from_archive(Path(env))
    else:
        path = os.path.join(env, "bin", "python") if os.path.isdir(env) else env
    found = ask(path)
    where = f"the environment of {bundle}" if kind == BUNDLE else f"the environment {env}"
    if found is None:
        raise UsageError(
            f"--env {env}: {path} is no Python that starts; give an interpreter or an environment's folder"
        )
    check_age(found, where=where)
    if found.for_models_only:
        return Interpreters(models=path)
    check(found, where=where)
    return Interpreters(worker=path)


def base_for(wanted: Wanted, python: str | None) -> Interpreter:
    """The interpreter that an environment of a bundle is made from; ``python`` is a version or a path.

    Raises:
        UsageError: there is none, or it is too old.
    """
    whose = f"the bundle {wanted.tag}"
    if python is None and wanted.python is None:
        raise UsageError(f"{whose} does not say which Python saved it: say --env bundle:VERSION")
    found = find(python or str(wanted.python), whose=whose)
    check_age(found, where=f"the environment of {wanted.tag}")
    return found


def environment_of_bundle(wanted: Wanted, base: Interpreter) -> str:
    """The interpreter of the environment with a bundle's requirements, built if it is not kept yet.

    Raises:
        BundleError: it cannot be built.
    """
    lines = [*wanted.lines, *needed_beside(base)]
    files = dict(wanted.carried)

    def fill(made: Environment) -> None:
        listed = made.folder / "bentobatch-requirements.txt"
        listed.write_text("".join(f"{line}\n" for line in placed(lines, wanted.bundle)), "utf-8")
        made.install(["--requirement", str(listed)], cwd=wanted.bundle)

    what = f"the environment of {wanted.tag}"
    return kept_environment({"lines": lines, "files": files}, base, fill, what=what)
