"""This module starts the processes that a run's leader works with, one of them before the leader knows what for.

A program imports it before everything else, so it imports little.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import bentobatch
from bentobatch.engine.wire import Wire

_KEEP_MEMORY = {"MIMALLOC_PURGE_DELAY": "1000"}
"""Arrow's allocator gives freed pages back to the system after so many milliseconds: 10 by default, which is about as long
as a chunk lives, so that the next one would fault all of them in again."""
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
_WORKER = "bentobatch.engine.worker"
_LEAVE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
_START_ELSEWHERE = (
    _LEAVE_CTRL_C + "import sys; from importlib import util; place = sys.argv[3];"
    "spec = util.spec_from_file_location('bentobatch', place + '/__init__.py', submodule_search_locations=[place]);"
    "sys.modules['bentobatch'] = module = util.module_from_spec(spec); spec.loader.exec_module(module);"
    f"from {_WORKER} import main; main(sys.argv[1:])"
)
"""What a child in another environment runs: it takes the leader's bentobatch, so that both speak alike, and finds all other
modules where that environment has them."""


def program(module: str, *arguments: str) -> list[str]:
    """The command of a child that runs the ``main`` of ``module`` in this interpreter with two arguments: it leaves a Ctrl-C
    to its leader, and finds modules exactly where that does, and not in the folder that it was started from."""
    start = f"import json, sys; sys.path[:] = json.loads(sys.argv[3]); from {module} import main; main(sys.argv[1:])"
    return [sys.executable, "-c", _LEAVE_CTRL_C + start, *arguments, json.dumps(sys.path)]


class Running:
    """A split in a child's hands."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.rows: tuple[int, int] | None = None
        self.file = ""


class Child:
    """One worker process, as its leader sees it. ``python`` is the interpreter of another environment than this one."""

    def __init__(self, python: str | None = None) -> None:
        ours, theirs = socket.socketpair()
        # the limit must stand before numpy is imported; see session.limit_native_threads
        limits = {name: "1" for name in _ONE_THREAD if name not in os.environ}
        limits |= {name: value for name, value in _KEEP_MEMORY.items() if name not in os.environ}
        # the kernel ends a child with the thread that started it, and only the main one lasts as long as its process
        tied = threading.current_thread() is threading.main_thread()
        parent = str(os.getpid()) if tied else "-"
        with theirs:
            self.process = subprocess.Popen(
                _command(python, str(theirs.fileno()), parent),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **limits},
            )
        self.wire = Wire(ours)
        self.running: dict[int, Running] = {}
        self.threads = 0
        self.opened = False

    def end_of(self) -> str:
        """How the process ended, in words."""
        try:
            status = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if status < 0:
            name = signal.Signals(-status).name if -status in signal.Signals._value2member_map_ else str(-status)
            hint = ", out of memory?" if -status == signal.SIGKILL else ""
            return f"the worker process was ended by {name}{hint}"
        return f"the worker process ended by itself with status {status}"

    def kill(self) -> None:
        """End the process now."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.wire.close()


def _command(python: str | None, descriptor: str, parent: str) -> list[str]:
    if python is None:
        return program(_WORKER, descriptor, parent)
    return [python, "-I", "-c", _START_ELSEWHERE, descriptor, parent, str(Path(bentobatch.__file__).parent)]


_SPARE: list[tuple[tuple[dict[str, str], list[str], str], Child]] = []


def prepare() -> None:
    """Start a worker process for the first crew that needs one: it imports what all of them need, which takes half a
    second, while its leader still finds out what to do. It ends with its leader like any other."""
    if not _SPARE:
        _SPARE.append((_surroundings(), Child()))


def discard() -> None:
    """End the process that ``prepare`` started, if nobody has taken it."""
    while _SPARE:
        _SPARE.pop()[1].kill()


def started(python: str | None) -> Child:
    """A new worker process; the prepared one only where it sees the world as a new one would."""
    if python is not None:
        return Child(python)
    while _SPARE:
        surroundings, child = _SPARE.pop()
        if surroundings == _surroundings() and child.process.poll() is None:
            return child
        child.kill()
    return Child()


def _surroundings() -> tuple[dict[str, str], list[str], str]:
    """What a child inherits."""
    try:
        folder = os.getcwd()
    except OSError:  # it was removed
        folder = ""
    return dict(os.environ), list(sys.path), folder
