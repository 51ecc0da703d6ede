"""This module is ``bentobatch redrive``: the rows that an output lost are scored again and merged into it."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from bentobatch.cli.logs import LOG_FORMATS, Messages, logging_to
from bentobatch.cli.options import METRICS_HELP, debug_option
from bentobatch.cli.parameters import GroupedOption, RunCommand, storage_option
from bentobatch.cli.progress import ProgressDisplay
from bentobatch.cli.run import check_report_file, show_report, write_report
from bentobatch.cli.signals import stop_on_signals
from bentobatch.cli.streams import stdout_for_results_only, stray_lines_as_events
from bentobatch.engine.redrive_job import AS_PARENT
from bentobatch.engine.stop import Stopped

_option = partial(click.option, cls=GroupedOption, group="Options")


@click.command("redrive", cls=RunCommand, short_help="Score an output's rejected rows again.")
@click.argument("output")
@_option("--bundle", metavar="BUNDLE", help="Who scores them.  [default: the bundle that made OUTPUT, as it is now]")
@_option("--trust", is_flag=True, help="Take a bundle from a URL without a pinned digest.")
@_option(
    "--env",
    metavar="current|bundle|PATH",
    help="The environment that it runs in, as --env of `bentobatch run`.  [default: that of the run that made OUTPUT]",
)
@_option(
    "--max-rejects",
    metavar="COUNT|SHARE%",
    default=AS_PARENT,
    help="Rows of OUTPUT that may be rejected, before it is left as it is and the exit code is 71.  "
    "[default: as many as are rejected in it now]",
)
@_option(
    "--max-discards",
    metavar="COUNT|SHARE%",
    default=AS_PARENT,
    help="The same for rows that the api itself discards.  [default: as for the run that made OUTPUT]",
)
@_option(
    "--executor",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="Who scores the splits: auto, inline, threads or processes.",
)
@_option("--workers", type=click.IntRange(min=1), metavar="COUNT", help="Splits at a time.  [default: by the machine]")
@_option(
    "--split-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Seconds after which the worker of one split counts as hung.  [default: no limit]",
)
@_option(
    "--resume/--restart",
    default=True,
    help="Go on from the finished splits of an earlier redrive that was stopped, or forget them.  [default: --resume]",
)
@_option("--state-dir", metavar="DIR", help="That of the run that made OUTPUT.  [default: beside OUTPUT]")
@_option(
    "--storage-option",
    "storage_options",
    type=storage_option,
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the file system of URLs (repeatable), such as a key. It is stored and logged nowhere.",
)
@_option("--report", metavar="FILE", help="Write the report of the redrive as JSON.  [default: none]")
@_option("--metrics-file", metavar="FILE.prom", help=METRICS_HELP)
@_option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    default="text",
    show_default=True,
    help="How stderr is written: lines for people, or one JSON object a line.",
)
@_option("--quiet", is_flag=True, help="No progress and no report on stderr: warnings and errors only.")
@debug_option
def redrive_command(output: str, **options: Any) -> None:
    """Score the rejected and discarded rows of OUTPUT again, after the model or the data was mended, and merge them.

    OUTPUT is a file or a directory that `bentobatch run` has made. Rows that were fine are not scored again. A row is
    known by its file and its place there, so a mended input file must have as many rows as before. OUTPUT is replaced
    at once; what is still bad stays in its rejects file.
    """
    messages = Messages(sys.stderr, options.pop("log_format"))
    quiet, debug, report_file = options.pop("quiet"), options.pop("debug"), options.pop("report")
    options["restart"] = not options.pop("resume")
    options["storage_options"] = dict(options["storage_options"]) or None
    if options["env"] is None:
        del options["env"]  # the default is not "current"
    display = ProgressDisplay(messages, quiet=quiet)
    with ExitStack() as stack:
        # as in ``run``: the streams are the last to be restored
        stack.enter_context(stray_lines_as_events(messages))
        stack.enter_context(stdout_for_results_only())
        stack.enter_context(logging_to(messages, quiet=quiet, debug=debug))
        stack.enter_context(stop_on_signals())
        stack.callback(display.close)
        try:
            check_report_file(report_file, output)
            from bentobatch import runs  # here, since --help must not pay for what it imports

            report = runs.redrive(output, **options, isolated=True, on_progress=display)
            if report_file is not None:
                write_report(report, Path(report_file))
        except Stopped as stopped:
            display.close()
            name = signal.Signals(stopped.signum).name
            words = f"stopped by {name}; the output is as it was, and the same command goes on"
            messages.event("error", words, exit_code=128 + stopped.signum)
            raise click.exceptions.Exit(128 + stopped.signum) from stopped
        display.close()
        if not quiet:
            show_report(report, messages)
