"""This module runs one whole process and measures it: wall, CPU of all its descendants, and peak memory of the tree.

CPU is what wait4 says of the process, which holds all descendants that were waited for; this process is made the reaper of
those that were left behind (Linux), so that daemons count too. Memory is the sum of PSS (pages shared by n processes
count 1/n each; RSS where the system has no PSS), sampled 50 times a second. Sampling takes a lock of the measured
process, so it is done in runs of their own, which are not timed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLES_A_SECOND = 50
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Measured:
    """One run. ``wall`` and ``cpu`` are seconds, ``peak_mb`` 1e6 bytes or None where memory was not sampled; ``output`` is
    the end of stdout and stderr, told when the exit code is not 0. ``others``: the share of the machine's cores that
    other processes, or other machines on the same host, took meanwhile."""

    wall: float
    cpu: float
    code: int
    peak_mb: float | None = None
    output: str = ""
    others: float = 0.0


def become_reaper() -> None:
    """Make this process the parent of its descendants' orphans (Linux only), so that their CPU is counted."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    memory: bool = False,
    timeout: float = 3600,
) -> Measured:
    """Run a command to its end, in a process group of its own that is killed after ``timeout`` seconds."""
    with log.open("wb") as sink:
        busy, started = busy_seconds(), time.perf_counter()
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        sampler = _Sampler(child.pid) if memory else None
        watchdog = threading.Timer(timeout, _end_group, [child.pid])
        watchdog.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:  # Ctrl-C: what was started must not run on
            _end_group(child.pid)
            raise
        finally:
            watchdog.cancel()
        wall = time.perf_counter() - started
        busy = busy_seconds() - busy
        peak = sampler.stop() if sampler else None
    code = child.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime + _orphans(child.pid)
    tail = log.read_bytes()[-2000:].decode("utf-8", "replace")
    others = max(0.0, (busy - cpu) / (wall * (os.cpu_count() or 1)))
    return Measured(wall, cpu, code, peak, tail, others)


def busy_seconds() -> float:
    """CPU seconds that the whole machine has spent, those stolen by other machines on the host included."""
    times = psutil.cpu_times()
    return float(sum(times[:]) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def warm(paths: Sequence[Path]) -> None:
    """Read files once, so that every runner finds them in the file cache."""
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                with file.open("rb") as source:
                    while source.read(1 << 24):
                        pass


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, 9)


def _orphans(group: int) -> float:
    """End what a run left behind in its own group, and the CPU seconds of all orphans that have ended."""
    _end_group(group)
    total = 0.0
    patience = time.monotonic() + 5
    while time.monotonic() < patience:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid:
            total += usage.ru_utime + usage.ru_stime
        else:
            time.sleep(0.02)
    return total


class _Sampler:
    """A thread that sums the memory of a process and its descendants, and keeps the largest sum."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, args=[pid], daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._done.set()
        self._thread.join()
        return self.peak / 1e6

    def _sample(self, pid: int) -> None:
        while not self._done.wait(1 / SAMPLES_A_SECOND):
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(pid)
                self.peak = max(self.peak, sum(map(memory_of, [root, *root.children(recursive=True)])))


def memory_of(process: psutil.Process) -> int:
    """PSS of a process in bytes, RSS where there is no PSS, 0 when it has ended."""
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
