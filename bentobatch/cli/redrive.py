"""This module is ``bentobatch redrive``: the rows that an output lost are scored again and merged into it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from bentobatch.cli.logs import Messages
from bentobatch.cli.options import debug_option, options_of_run
from bentobatch.cli.parameters import GroupedOption, RunCommand
from bentobatch.cli.run import check_report_file, show_report, write_report
from bentobatch.cli.surroundings import surroundings
from bentobatch.engine.redrive_job import AS_PARENT
from bentobatch.engine.report import Progress

_option = partial(click.option, cls=GroupedOption, group="Options")


@click.command("redrive", cls=RunCommand, short_help="Score an output's rejected rows again.")
@click.argument("output")
@_option("--bundle", metavar="BUNDLE", help="Who scores them.  [default: the bundle that made OUTPUT, as it is now]")
@options_of_run("--trust", group="Options")
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
@options_of_run("--workers", "--split-timeout", group="Options")
@_option(
    "--resume/--restart",
    default=True,
    help="Go on from the finished splits of an earlier redrive that was stopped, or forget them.  [default: --resume]",
)
@_option("--state-dir", metavar="DIR", help="That of the run that made OUTPUT.  [default: beside OUTPUT]")
@options_of_run("--storage-option", group="Options")
@_option("--report", metavar="FILE", help="Write the report of the redrive as JSON.  [default: none]")
@options_of_run("--metrics-file", "--log-format", "--quiet", group="Options")
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
    with surroundings(messages, quiet=quiet, debug=debug, when_stopped=when_stopped) as display:
        check_report_file(report_file, output)
        from bentobatch import runs  # here, since --help must not pay for what it imports

        report = runs.redrive(output, **options, isolated=True, on_progress=display)
        if report_file is not None:
            write_report(report, Path(report_file))
        display.close()
        if not quiet:
            show_report(report, messages)


def when_stopped(last: Progress | None) -> str:
    """What is left of OUTPUT when a signal comes after that progress."""
    if last is not None and last.stage == "commit":
        return "the output is whole, as it was or with the new rows merged; the same command goes on"
    return "the output is as it was, and the same command goes on"
