"""This module says what this process's environment is, as far as it may change values: Python and what is installed."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any

from bentobatch.environments.interpreters import ask
from bentobatch.errors import UsageError

_NEVER_IN_VALUES = frozenset({"bentobatch", "pip", "setuptools", "uv", "wheel"})
_MOST_NAMED = 5


@lru_cache(maxsize=4)
def installed(python: str | None = None) -> dict[str, Any]:
    """{"python": version, "packages": {name: version}} of this process, or of another interpreter, as JSON values.

    Raises:
        UsageError: that one does not start.
    """
    if python is not None:
        other = ask(python)
        if other is None:
            raise UsageError(f"{python} does not start any more: remove its environment, and it will be built anew")
        return _described(other.version, dict(other.packages))
    found: dict[str, str] = {}
    for item in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", str(item.metadata["Name"])).lower()
        found.setdefault(name, str(item.version))  # the first on the path is the one that is imported
    return _described(platform.python_version(), found)


def _described(python: str, found: Mapping[str, str]) -> dict[str, Any]:
    return {"python": python, "packages": {name: found[name] for name in sorted(found) if name not in _NEVER_IN_VALUES}}


def difference(planned: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Where two environments differ, in words; empty where they do not."""
    found: list[str] = []
    if planned["python"] != here["python"]:
        found.append(f"Python {here['python']} instead of {planned['python']}")
    theirs, ours = planned["packages"], here["packages"]
    found += [
        f"{name} {ours.get(name) or 'missing'} instead of {theirs.get(name) or 'none'}"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(found[:_MOST_NAMED]) + more
