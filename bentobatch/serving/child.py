"""This module runs a development server for a service in a child process, for notebooks and tests."""

from __future__ import annotations

import atexit
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from bentobatch.errors import UnavailableError, UsageError

_URL = re.compile(r"serving .* at (http://\S+?);")
_PATIENCE = 10.0
"""Seconds that a child has to end after it was told to, before it is killed; it answers what is under way meanwhile."""


class ChildServer:
    """``bentobatch serve`` of the bundle in ``folder`` on loopback, from when it answers until ``stop``, or until this
    process ends. What it says goes to this process's stderr.

    Raises:
        UnavailableError: it did not start; the message has its last line.
    """

    def __init__(self, folder: str, port: int, *, options: tuple[str, ...] = (), remove: Path | None = None) -> None:
        self._remove = remove
        command = [sys.executable, "-m", "bentobatch", "serve", folder, "--host", "127.0.0.1", "--port", str(port)]
        self._process = subprocess.Popen(
            [*command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        atexit.register(self.stop)
        assert self._process.stderr is not None
        self.url = self._wait(self._process.stderr)
        threading.Thread(target=_forward, args=(self._process.stderr,), daemon=True).start()

    def _wait(self, lines: IO[str]) -> str:
        last = "it said nothing"
        for line in lines:
            if found := _URL.search(line):
                return found[1]
            last = line.strip() or last
        lines.close()
        self.stop()
        raise UnavailableError(f"the development server did not start: {last.removeprefix('bentobatch: ')}")

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        atexit.unregister(self.stop)
        if self.is_alive:
            self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._remove is not None:
            shutil.rmtree(self._remove, ignore_errors=True)


def _forward(lines: IO[str]) -> None:
    with lines:
        for line in lines:
            if sys.stderr is not None:
                sys.stderr.write(line)


_running: weakref.WeakKeyDictionary[Any, ChildServer] = weakref.WeakKeyDictionary()


def start_child(
    service: Any, save: Callable[[str], Any], port: int, options: tuple[str, ...] = (), *, folder: str | None = None
) -> str:
    """Serve ``service`` in a child; returns its URL. ``save`` writes it as a bundle where it has no ``folder`` yet.

    Raises:
        UsageError: it is served already.
        UnavailableError: the child did not start.
    """
    running = _running.get(service)
    if running is not None and running.is_alive:
        raise UsageError(f"the development server of this service runs already, at {running.url}: stop_dev_server()")
    stop_child(service)
    made = None
    if folder is None:
        made = Path(tempfile.mkdtemp(prefix="bentobatch-dev-"))
        folder = str(made / "bundle")
        save(folder)
    server = ChildServer(folder, port, options=options, remove=made)
    _running[service] = server
    return server.url


def stop_child(service: Any) -> None:
    """End the child of ``service``, where it has one."""
    server = _running.pop(service, None)
    if server is not None:
        server.stop()
