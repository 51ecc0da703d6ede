"""This module declares the options of ``bentobatch run``: names, units, defaults and help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import click

from bentobatch.cli.logs import LOG_FORMATS
from bentobatch.cli.parameters import (
    DeclaredOption,
    F,
    delimiter,
    joined,
    named_input,
    names,
    size,
    storage_option,
    texts,
)
from bentobatch.engine.job import DEFAULT_BATCH_BYTES, DEFAULT_BATCH_ROWS, DEFAULT_NULLS, DEFAULT_SPLIT_ROWS

TRUST_HELP = "Take a bundle from a URL without its digest pinned (URL@sha256:DIGEST); its code is run."

trust_type_option = DeclaredOption.of(
    "Work",
    "--trust-type",
    "trust_types",
    multiple=True,
    metavar="NAME",
    help="The full name of a type that BUNDLE, a .skops file, may make beside those that skops knows (repeatable).",
)
"""--trust-type, of all commands that take a model file for the bundle that is made of it."""

METRICS_HELP = (
    "Write what the run did, also when it fails, for Prometheus' textfile collector; a directory gets one file for each"
    " bundle and api.  [default: the environment's BENTOBATCH_METRICS_FILE]"
)

debug_option = DeclaredOption.of(
    "Messages", "--debug", is_flag=True, help="Show the traceback of an error, and detailed log lines."
)
"""--debug, which every command has; ``main`` reads it from the command line, since errors may come before."""


def run_options(function: F) -> F:
    """All options of ``bentobatch run``."""
    for group in (_MESSAGES, _WORK, _LIMITS, _OUTPUT, _COLUMNS, _INPUT):
        for option in reversed(group):
            function = option(function)
    return function


def reading_options(function: F) -> F:
    """The options of ``bentobatch run`` that say what is read, for other commands that read it too."""
    for group in (_CHOSEN, _INPUT):
        for option in reversed(group):
            function = option(function)
    return function


def options_of_run(*flags: str, group: str | None = None) -> Callable[[F], F]:
    """Those options of ``bentobatch run`` that have these flags, in this order, for a command that takes them as well, under
    its own heading ``group`` (None: that of ``run``)."""
    known = {
        each.flags[0]: each for each in (*_WORK, *_LIMITS, *_INPUT, *_MESSAGES) if isinstance(each, DeclaredOption)
    }

    def decorate(function: F) -> F:
        for option in reversed([known[flag] for flag in flags]):
            function = (option if group is None else replace(option, group=group))(function)
        return function

    return decorate


_input = partial(DeclaredOption.of, "Input")
_INPUT = (
    _input(
        "--input",
        multiple=True,
        several=True,
        metavar="VALUE...",
        help="Inline values, each one a JSON text (or a plain text, if the api takes text). Several may follow one "
        "flag; a value that begins with -- is given as --input=VALUE.",
    ),
    _input(
        "--input-file",
        multiple=True,
        several=True,
        metavar="PATH...",
        help="Files, globs, directories or URLs. Several may follow one flag; a name that begins with - is given as "
        "./-NAME or --input-file=-NAME. For an api with several inputs: --input-file-NAME PATH... for each of them.",
    ),
    _input(
        "--named-input",
        "named_files",
        multiple=True,
        type=named_input,
        metavar="NAME=PATH",
        help="The same as --input-file-NAME PATH (repeatable).",
    ),
    _input(
        "--files-root",
        metavar="DIR",
        help="The folder of the files that a column of paths names.  [default: the folder of the input file]",
    ),
    _input(
        "--format",
        metavar="NAME",
        help="parquet, csv, jsonl, text, arrow, orc, or binary_files if each file is a value.  [default: by extension]",
    ),
    _input(
        "--delimiter", type=delimiter, metavar="CHAR", default=",", show_default=True, help="Between the fields of CSV."
    ),
    _input(
        "--nulls",
        type=texts,
        multiple=True,
        callback=joined,
        metavar="TEXTS",
        help="The spellings of null in CSV, with commas between them.  "
        f"[default: the empty text, {', '.join(text for text in DEFAULT_NULLS if text)}]",
    ),
    _input(
        "--limit",
        type=click.IntRange(min=0),
        metavar="ROWS",
        help="Score the first ROWS rows only.  [default: all]",
    ),
    _input(
        "--storage-option",
        "storage_options",
        type=storage_option,
        multiple=True,
        metavar="NAME=VALUE",
        help="An option of the file system of URLs (repeatable), such as a key. It is stored and logged nowhere.",
    ),
)

_columns = partial(DeclaredOption.of, "Columns")
_CHOSEN = (
    _columns(
        "--features",
        type=names,
        multiple=True,
        callback=joined,
        metavar="NAMES",
        help="The columns that the api gets, in this order.  [default: those the api declares, or the model knows, or "
        "all but --keep and --exclude]",
    ),
    _columns(
        "--keep",
        type=names,
        multiple=True,
        callback=joined,
        metavar="NAMES",
        help="Input columns to carry into the output, bit for bit.  [default: none]",
    ),
    _columns(
        "--exclude",
        type=names,
        multiple=True,
        callback=joined,
        metavar="NAMES",
        help="Input columns that are no features.  [default: none]",
    ),
)
_COLUMNS = (*_CHOSEN, _columns("--keep-all", is_flag=True, help="Carry all input columns into the output."))

_output = partial(DeclaredOption.of, "Output")
_OUTPUT = (
    _output(
        "--output-file",
        metavar="PATH",
        help="A file where PATH ends in a known extension, else a directory of parts.  [default: JSON lines on stdout]",
    ),
    _output(
        "--output-format",
        metavar="NAME",
        help="parquet, csv, jsonl or arrow.  [default: by extension; parquet for a directory]",
    ),
    _output(
        "--output-column",
        metavar="NAME",
        default="prediction",
        show_default=True,
        help="The column of the predictions, or the beginning of their names if they are several.",
    ),
    _output(
        "--status-column",
        metavar="NAME",
        help="Add a column that says ok, discarded or rejected for each row.  [default: none]",
    ),
    _output(
        "--only-new",
        is_flag=True,
        help="Score only the input files that the output, a directory, does not hold yet, and add them to it. A file is "
        "known by its path, size and stamp; one that changed replaces its old rows.",
    ),
    _output("--overwrite", is_flag=True, help="Replace an existing output, when the new one is whole and not before."),
    _output(
        "--rejects-file",
        metavar="PATH",
        help="Parquet file of the rows that could not be scored.  [default: OUTPUT.rejects.parquet]",
    ),
)

_limits = partial(DeclaredOption.of, "Limits")
_LIMITS = (
    _limits(
        "--max-rejects",
        metavar="COUNT|SHARE%",
        default="0",
        show_default=True,
        help="Rows that may be rejected before the run stops with exit code 71: a count of rows, or a share of them "
        "such as 1%.",
    ),
    _limits(
        "--max-discards",
        metavar="COUNT|SHARE%",
        help="The same for rows that the api itself discards.  [default: no limit]",
    ),
    _limits(
        "--expect",
        multiple=True,
        several=True,
        metavar="LINE...",
        help="What must be true of the output before it is committed, such as 'rejects < 1%', 'nulls(prediction) = 0' or "
        "'prediction between 0 and 1'; else the run ends with exit code 71.  [default: nothing]",
    ),
    _limits(
        "--split-timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Seconds after which the worker of one split counts as hung.  [default: no limit]",
    ),
)

_work = partial(DeclaredOption.of, "Work")
_WORK = (
    _work(
        "--executor",
        metavar="NAME",
        default="auto",
        show_default=True,
        help="Who scores the splits: auto, inline, threads or processes on this machine, or dask, spark or celery.",
    ),
    _work(
        "--dask-scheduler",
        metavar="ADDRESS",
        help="The scheduler of --executor dask, such as tcp://host:8786.  [default: processes on this machine]",
    ),
    _work(
        "--spark-master",
        metavar="URL",
        help="The master of --executor spark, such as spark://host:7077 or "
        "sc://host:15002 (Spark Connect).  [default: local[*]]",
    ),
    _work(
        "--broker",
        metavar="URL",
        help="The broker of --executor celery, such as redis://host:6379/0.  "
        "[default: the environment's CELERY_BROKER_URL]",
    ),
    _work(
        "--celery-app",
        metavar="MODULE:NAME",
        help="The Celery app of --executor celery, instead of --broker.  [default: none]",
    ),
    _work(
        "--workers", type=click.IntRange(min=1), metavar="COUNT", help="Splits at a time.  [default: by the machine]"
    ),
    _work(
        "--env",
        metavar="current|bundle|PATH",
        help="The environment that the bundle runs in: this one, one that is built from the bundle's requirements "
        "(bundle:3.12 for another Python than that which saved it), an interpreter or a virtual environment's folder, or "
        "an archive that `bentobatch env build` made.  [default: current]",
    ),
    _work(
        "--device",
        metavar="auto|cpu|cuda:N",
        help="Where models that can lie on a GPU are loaded; auto takes a GPU where there is one.  [default: the "
        "environment's BENTOBATCH_DEVICE, else auto]",
    ),
    _work(
        "--batch-rows",
        "--max-batch-size",
        "batch_rows",
        type=click.IntRange(min=1),
        metavar="ROWS",
        default=DEFAULT_BATCH_ROWS,
        show_default=True,
        help="Most rows of one call of the api.",
    ),
    _work(
        "--batch-bytes",
        type=size,
        metavar="SIZE",
        default=DEFAULT_BATCH_BYTES,
        help=f"Most input bytes of one call of the api, such as 64MB.  [default: {DEFAULT_BATCH_BYTES >> 20}MiB]",
    ),
    _work(
        "--split-rows",
        type=click.IntRange(min=1),
        metavar="ROWS",
        default=DEFAULT_SPLIT_ROWS,
        show_default=True,
        help="Most rows of one split, the unit of work that is finished or scored again.",
    ),
    _work(
        "--resume/--restart",
        default=True,
        help="Go on from the finished splits of an earlier run of the same command, or forget them.  "
        "[default: --resume]",
    ),
    _work(
        "--state-dir",
        metavar="DIR",
        help="Where plan and finished splits are kept.  [default: .OUTPUT.bentobatch beside the output]",
    ),
    _work("--trust", is_flag=True, help=TRUST_HELP),
    trust_type_option,
    _work(
        "--break-lock",
        is_flag=True,
        help="Take the lease on an output in a bucket from a run that is dead, instead of waiting 60 s for it to go "
        "stale; if it lives, it cannot commit any more.",
    ),
    _work("--no-pickle", is_flag=True, help="Refuse a bundle whose models are pickles, which run code when loaded."),
    _work("--dry-run", is_flag=True, help="Show the plan (files, splits, features, columns, rows) and score nothing."),
)

_messages = partial(DeclaredOption.of, "Messages")
_MESSAGES = (
    _messages("--report", metavar="FILE", help="Write the report of the run as JSON.  [default: none]"),
    _messages("--metrics-file", metavar="FILE.prom", help=METRICS_HELP),
    _messages(
        "--log-format",
        type=click.Choice(LOG_FORMATS),
        default="text",
        show_default=True,
        help="How stderr is written: lines for people, or one JSON object a line.",
    ),
    _messages("--quiet", is_flag=True, help="No progress and no report on stderr: warnings and errors only."),
    debug_option,
)
