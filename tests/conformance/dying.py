"""This module lets a test die at the k-th change of the disk, as SIGKILL would: nothing is changed after it, by nobody."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from bentobatch.engine import publish

CHANGES = ((os, "replace"), (os, "rename"), (os, "link"), (os, "unlink"), (os, "mkdir"), (os, "fsync"))


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def die_at(k: int, patch: pytest.MonkeyPatch) -> list[str]:
    """From the k-th change (from 1) on, every one raises Killed before it happens. The list gets the first's name."""
    count = 0
    deaths: list[str] = []

    def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count >= k:
                deaths.append(name)
                raise Killed(name)
            return real(*arguments, **options)

        return change

    for module, name in (*CHANGES, (shutil, "rmtree"), (publish, "_exchange")):
        patch.setattr(module, name, dying(name, getattr(module, name)))
    return deaths
