"""This module is ``bentobatch run``: it turns the options into one call of ``runs.run`` and shows how that goes."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from bentobatch.cli.dry_run import plan_lines
from bentobatch.cli.logs import Messages, logging_to
from bentobatch.cli.options import run_options
from bentobatch.cli.parameters import RunCommand
from bentobatch.cli.progress import ProgressDisplay
from bentobatch.cli.signals import stop_on_signals
from bentobatch.cli.streams import stdout_for_results_only, stray_lines_as_events
from bentobatch.cli.text import printable_values
from bentobatch.engine.child import discard, prepare
from bentobatch.engine.report import RunReport
from bentobatch.engine.stop import Stopped
from bentobatch.errors import OutputError, StorageError, UsageError

_OF_SCHEDULERS = {
    "dask_scheduler": ("dask", "address"),
    "spark_master": ("spark", "master"),
    "broker": ("celery", "broker"),
    "celery_app": ("celery", "app"),
}
"""Options of one executor each: its name, and the keyword that it takes them by."""
_NO_PART_OF_A_PLAN = (
    "executor", "executor_options", "workers", "split_timeout", "restart", "break_lock", "metrics_file",
)  # fmt: skip


@click.command("run", cls=RunCommand, short_help="Score data with a bundle.")
@click.argument("bundle")
@click.argument("api", default="predict")
@run_options
def run_command(bundle: str, api: str, **options: Any) -> None:
    """Score data with the function API (default: predict) of BUNDLE: a folder, a tag such as NAME:latest, an
    archive, URL@sha256:DIGEST, or a model file: .onnx, .skops, or the folder of an MLflow model.

    Values come from --input or --input-file, and go to --output-file, or as JSON lines to stdout. A run that was
    killed goes on from its finished splits when the same command is given again.
    """
    messages = Messages(sys.stderr, options.pop("log_format"))
    quiet, debug = options.pop("quiet"), options.pop("debug")
    report_file, dry_run = options.pop("report"), options.pop("dry_run")
    display = ProgressDisplay(messages, quiet=quiet)
    arguments = _arguments(options)
    with ExitStack() as stack:
        # The streams are the last to be restored, so that whatever is said while the run ends is in its place.
        stack.enter_context(stray_lines_as_events(messages))
        stack.enter_context(stdout_for_results_only())  # after the former: stdout then leads where stderr does
        stack.enter_context(logging_to(messages, quiet=quiet, debug=debug))
        stack.enter_context(stop_on_signals())
        stack.callback(display.close)
        try:
            stack.callback(discard)
            if arguments["env"] is None:
                prepare()
            check_report_file(report_file, arguments["output_file"])
            if dry_run:
                _describe(bundle, api, arguments, as_json=messages.log_format == "json")
                return
            report = _run(bundle, api, arguments, display)
            if report_file is not None:
                write_report(report, Path(report_file))
        except Stopped as stopped:
            display.close()
            messages.event("error", _stopped(stopped, display, arguments), exit_code=128 + stopped.signum)
            raise click.exceptions.Exit(128 + stopped.signum) from stopped
        display.close()
        if not quiet:
            show_report(report, messages)


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The options as keywords of ``runs.run``; a list that was not given is left to the default there."""
    arguments = dict(options)
    arguments["restart"] = not arguments.pop("resume")
    arguments["allow_pickle"] = not arguments.pop("no_pickle")
    arguments["executor_options"] = _executor_options(arguments)
    arguments["storage_options"] = dict(arguments["storage_options"]) or None
    for name in ("keep", "exclude", "nulls", "metrics_file"):
        if arguments[name] is None:
            del arguments[name]
    take_named(arguments)
    if not arguments["input"] and not arguments["input_file"]:
        raise UsageError("nothing to score: give values with --input or files with --input-file")
    return arguments


def take_named(arguments: dict[str, Any]) -> None:
    """``--input-file-NAME`` as a dict of paths by name, in the place of ``input_file``."""
    given: dict[str, list[str]] = {}
    for name, path in arguments.pop("named_files"):
        given.setdefault(name, []).append(path)
    if given and arguments["input_file"]:
        raise UsageError("give --input-file-NAME for each input of the api, or --input-file, and not both")
    arguments["input_file"] = given or arguments["input_file"]


def _executor_options(arguments: dict[str, Any]) -> dict[str, str] | None:
    """The options of the executor that was asked for, taken out of ``arguments``."""
    options: dict[str, str] = {}
    for name, (executor, keyword) in _OF_SCHEDULERS.items():
        value = arguments.pop(name)
        if value is None:
            continue
        if arguments["executor"] != executor:
            raise UsageError(f"--{name.replace('_', '-')} belongs to --executor {executor}: give both")
        options[keyword] = value
    return options or None


def _run(bundle: str, api: str, arguments: dict[str, Any], display: ProgressDisplay) -> RunReport:
    # Here and not above: ``bentobatch --help`` and ``run --help`` must not pay for what runs imports.
    from bentobatch import runs

    print_to = None
    if arguments["output_file"] is None:
        if sys.stdout is None:
            raise OutputError("standard output is closed: give --output-file")
        print_to = sys.stdout.buffer
    return runs.run(bundle, api, **arguments, isolated=True, on_progress=display, print_to=print_to)


def _describe(bundle: str, api: str, arguments: dict[str, Any], *, as_json: bool) -> None:
    from bentobatch import runs  # as in _run

    wanted = {name: value for name, value in arguments.items() if name not in _NO_PART_OF_A_PLAN}
    plan = runs.describe(bundle, api, **wanted, isolated=True)
    if arguments["output_file"] is None:  # planned for a temporary file, which is nobody's business
        plan = {**plan, "output": None, "state": None, "rejects_file": arguments["rejects_file"]}
    if as_json:
        click.echo(json.dumps(printable_values(plan), ensure_ascii=False))
    else:
        click.echo("\n".join(plan_lines(plan)))


def show_report(report: RunReport, messages: Messages) -> None:
    if messages.log_format == "json":
        messages.event("info", "report", event="report", **report.event_fields())
    else:
        for line in report.lines():
            messages.plain(line)


def _stopped(stopped: Stopped, display: ProgressDisplay, arguments: dict[str, Any]) -> str:
    name = signal.Signals(stopped.signum).name
    if arguments["output_file"] is None:
        return f"stopped by {name}; nothing was printed"
    splits = display.last.splits_done if display.last else 0
    return f"stopped by {name}; the same command goes on from {splits:,} finished splits"


def check_report_file(report: str | None, output: str | None) -> None:
    """Refuse a report that could not be written, before the run has cost its time."""
    if report is None:
        return
    if report == "-":
        raise UsageError("--report needs a file's name: stdout is for the results (a file named - is given as ./-)")
    path = Path(report)
    if output is not None and os.path.abspath(report) == os.path.abspath(output):
        raise UsageError(f"--report and --output-file are the same file: {report}")
    if path.is_dir():
        raise OutputError(f"--report {report} is a directory: name a file")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"--report {report}: No such directory {path.absolute().parent}; make it first")


def write_report(report: RunReport, path: Path) -> None:
    """The report as JSON, whole or not at all: written beside ``path`` and renamed."""
    content = json.dumps(printable_values(report.to_json()), indent=2) + "\n"
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.absolute().parent, prefix=f".{path.name[:100]}.", delete=False, encoding="utf-8"
        ) as file:
            temporary = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # NamedTemporaryFile makes files that others cannot read
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(
            f"--report {path} could not be written: {error.strerror}; the output itself is whole"
        ) from error


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
