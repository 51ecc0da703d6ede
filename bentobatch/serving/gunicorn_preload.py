"""This module finds out what of a bundle that was loaded before the fork will not work in the processes after it.

GNU's OpenMP (libgomp, of LightGBM, scikit-learn and others) keeps its threads for the thread that first asked for them.
In a forked process they are gone, and the one thread that went along waits for them forever; every other thread gets new
ones. So it is tried out, in a process that may hang, and where it does, workers call the api on threads only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading

PATIENCE = 2
"""Seconds after which a call that takes microseconds counts as hanging."""


def main_thread_can_compute() -> bool:
    """Whether the main thread of a process that is forked now can use OpenMP."""
    libraries = _libgomps()
    if not libraries:
        return True
    process = os.fork()
    if not process:
        _compute(libraries)
    _, status = os.waitpid(process, 0)
    return status == 0


def lost_threads() -> list[str]:
    """The names of Python's threads that a fork now would lose: the bundle's code started them when it was loaded."""
    return [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]


def _libgomps() -> list[str]:
    from threadpoolctl import threadpool_info  # here: it looks through all loaded libraries

    return [found["filepath"] for found in threadpool_info() if found["prefix"] == "libgomp"]


def _compute(libraries: list[str]) -> None:
    """Have two threads do nothing together, by each library, and exit."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(PATIENCE)
    nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)  # free(NULL): the shortest function of C
    for library in libraries:
        ctypes.CDLL(library).GOMP_parallel(nothing, None, 2, 0)
    os._exit(0)
