"""This module is preloaded by the worker processes that a run starts for itself: a Ctrl-C, which reaches the whole group of
processes, is their leader's to act on, and not each worker's to end with a traceback."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:  # noqa: ARG001 - the name and form of Dask's preload modules
    """Ignore SIGINT in this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
