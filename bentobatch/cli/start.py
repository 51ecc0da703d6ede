"""This module is the program's first step: a run's worker process starts before its leader has read the command line.

Both import for some tenths of a second; so they do it at the same time.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Sequence

from bentobatch.cli.descriptors import fill_missing_descriptors

_NEED_NONE = {"--help", "--env", "--log-format"}
"""Options with which no process is started so early: there is nothing to run, or it would be another interpreter, or its
stderr is not this one (what a worker prints is told as events)."""


def main() -> int:
    """Run this process's command line and return its exit code."""
    words = sys.argv[1:]
    if not starts_run(words):
        return _main()
    fill_missing_descriptors()
    from bentobatch.engine.child import discard, prepare  # what every other command does without

    with contextlib.suppress(OSError):  # no more processes, or descriptors: the run asks again, and says so
        prepare()
    try:
        return _main()
    finally:
        discard()


def starts_run(words: Sequence[str]) -> bool:
    """Whether a command line is that of a run with a worker process of this interpreter."""
    return words[:1] == ["run"] and len(words) > 1 and _NEED_NONE.isdisjoint(word.split("=")[0] for word in words)


def _main() -> int:
    try:
        from bentobatch.cli.main import main  # it takes its time, in which the worker process begins
    except KeyboardInterrupt:
        sys.stderr.write("bentobatch: stopped by SIGINT\n")
        return 128 + signal.SIGINT
    return main()
