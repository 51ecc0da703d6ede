"""This module is what surrounds a command that scores: its streams, log lines, progress, and what a signal ends it with."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import click

from bentobatch.cli.logs import Messages, logging_to
from bentobatch.cli.progress import ProgressDisplay
from bentobatch.cli.signals import stop_on_signals
from bentobatch.cli.streams import stdout_for_results_only, stray_lines_as_events
from bentobatch.engine.report import Progress
from bentobatch.engine.stop import Stopped


@contextmanager
def surroundings(
    messages: Messages, *, quiet: bool, debug: bool, when_stopped: Callable[[Progress | None], str]
) -> Iterator[ProgressDisplay]:
    """The display of the command's progress; ``when_stopped`` says what is left when a signal stops it, after that progress.

    Raises:
        Exit: a signal came, which is told on stderr.
    """
    display = ProgressDisplay(messages, quiet=quiet)
    with ExitStack() as stack:
        # as in ``run``: the streams are the last to be restored
        stack.enter_context(stray_lines_as_events(messages))
        stack.enter_context(stdout_for_results_only())
        stack.enter_context(logging_to(messages, quiet=quiet, debug=debug))
        stack.enter_context(stop_on_signals())
        stack.callback(display.close)
        try:
            yield display
        except Stopped as stopped:
            display.close()
            code = 128 + stopped.signum
            name = signal.Signals(stopped.signum).name
            messages.event("error", f"stopped by {name}; {when_stopped(display.last)}", exit_code=code)
            raise click.exceptions.Exit(code) from stopped
