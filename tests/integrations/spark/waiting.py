"""What the tests know of processes that they did not start."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE = 120.0


def wait_for(condition: Callable[[], Any]) -> Any:
    """What ``condition`` returns once it is true."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def lines(path: Path) -> list[list[int]]:
    """The process ids that the service ``watched`` wrote: its own and its parent's, a line for each time."""
    return [[int(part) for part in line.split()] for line in path.read_text().splitlines()] if path.exists() else []
