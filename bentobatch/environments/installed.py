"""This module says what this process's environment is, as far as it may change values: Python and what is installed."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any

_NEVER_IN_VALUES = frozenset({"bentobatch", "pip", "setuptools", "uv", "wheel"})
_MOST_NAMED = 5


@lru_cache(maxsize=1)
def installed() -> dict[str, Any]:
    """{"python": version, "packages": {name: version}} of this process, as JSON values."""
    found: dict[str, str] = {}
    for item in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", str(item.metadata["Name"])).lower()
        found.setdefault(name, str(item.version))  # the first on the path is the one that is imported
    packages = {name: found[name] for name in sorted(found) if name not in _NEVER_IN_VALUES}
    return {"python": platform.python_version(), "packages": packages}


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
