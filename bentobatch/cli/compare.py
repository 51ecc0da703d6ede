"""This module is ``bentobatch compare``: what two bundles make of one input, and whether they differ by too much."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from bentobatch.cli.logs import Messages
from bentobatch.cli.options import debug_option, options_of_run, reading_options
from bentobatch.cli.parameters import GroupedOption, RunCommand
from bentobatch.cli.run import take_named
from bentobatch.cli.surroundings import surroundings
from bentobatch.cli.text import printable, printable_values
from bentobatch.errors import TooManyChangesError, UsageError

if TYPE_CHECKING:
    from bentobatch.comparison.comparing import Comparison
    from bentobatch.engine.report import Progress

_option = partial(click.option, cls=GroupedOption, group="Comparison")
_SHOWN_CLASSES = 20


@click.command("compare", cls=RunCommand, short_help="Compare what two bundles predict.")
@click.argument("old")
@click.argument("new")
@click.argument("api", default="predict")
@reading_options
@_option(
    "--output-file",
    metavar="PATH",
    help="Write the rows that changed: .parquet, .csv, .jsonl or .arrow.  [default: none]",
)
@_option("--overwrite", is_flag=True, help="Replace an existing file of changed rows.")
@_option(
    "--max-changed",
    metavar="COUNT|SHARE%",
    help="Rows that may change before the exit code is 1: a count, or a share such as 1%.  [default: no limit]",
)
@_option(
    "--tolerance",
    metavar="AMOUNT|SHARE%",
    default="0",
    show_default=True,
    help="How far a number may move without counting as changed: an amount, or a share of the old value.",
)
@_option("--old-env", metavar="ENV", help="The environment of OLD, as --env of `bentobatch run`.  [default: current]")
@_option("--new-env", metavar="ENV", help="The environment of NEW.  [default: current]")
@_option("--new-api", metavar="NAME", help="The api of NEW, where it has another name.  [default: API]")
@_option(
    "-o",
    "--output",
    "shown",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the comparison is printed to stdout.",
)
@_option(
    "--workers",
    group="Work",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Splits at a time, for each of the two.  [default: half of the cores]",
)
@options_of_run("--split-timeout", "--trust", "--trust-type", "--no-pickle", group="Work")
@options_of_run("--log-format")
@_option("--quiet", group="Messages", is_flag=True, help="No progress on stderr: warnings and errors only.")
@debug_option
def compare_command(old: str, new: str, api: str, **options: Any) -> None:
    """Score one input with the bundles OLD and NEW, and tell which rows changed and how each prediction shifted.

    A row has changed when one of its predictions, or its status (ok, discarded, rejected), is another one.
    """
    messages = Messages(sys.stderr, options.pop("log_format"))
    quiet, debug, shown = options.pop("quiet"), options.pop("debug"), options.pop("shown")
    limit = options.pop("max_changed")
    written = options["output_file"]
    before = _stamp(written)

    def when_stopped(_last: Progress | None) -> str:
        return "nothing was written" if _stamp(written) == before else f"{printable(written)} is written, and whole"

    with surroundings(messages, quiet=quiet, debug=debug, when_stopped=when_stopped) as display:
        from bentobatch.comparison.comparing import compare  # here, since --help must not pay for what it imports
        from bentobatch.engine.job import allowed_rows

        allowed_rows(limit, 0, option="max_changed")
        found = compare(old, new, api, **_arguments(options), isolated=True, on_progress=display)
        display.close()
        if shown == "json":
            click.echo(json.dumps(printable_values(found.to_json()), ensure_ascii=False))
        else:
            click.echo("\n".join(lines_of(found)))
        if not found.within(limit):
            raise TooManyChangesError(
                f"{found.changed:,} of {found.rows:,} rows changed ({_percent(found.share)}), more than --max-changed "
                f"{limit} allows" + (f"; see {found.output}" if found.output else "")
            )


def _stamp(path: str | None) -> tuple[int, int] | None:
    """What tells whether a file has been put into place."""
    try:
        found = None if path is None else os.stat(path)
    except (OSError, ValueError):  # a name that no file can have is refused later
        return None
    return None if found is None else (found.st_ino, found.st_mtime_ns)


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    arguments = dict(options)
    arguments["allow_pickle"] = not arguments.pop("no_pickle")
    arguments["storage_options"] = dict(arguments["storage_options"]) or None
    for name in ("keep", "exclude", "nulls"):
        if arguments[name] is None:
            del arguments[name]
    take_named(arguments)
    if not arguments["input"] and not arguments["input_file"]:
        raise UsageError("nothing to score: give values with --input or files with --input-file")
    return arguments


def lines_of(found: Comparison) -> list[str]:
    """A comparison for people."""
    lines = [f"rows {found.rows:,}, changed {found.changed:,} ({_percent(found.share)})"]
    lines += [f"{side} {_side(described)}" for side, described in (("old", found.old), ("new", found.new))]
    lines += [f"status {old} -> {new}: {count:,}" for old, new, count in found.statuses if (old, new) != ("ok", "ok")]
    for name, column in found.columns.items():
        lines.append("")
        lines += _column_lines(printable(name), column)
    if found.output:
        lines += ["", f"changed rows in {printable(found.output)}"]
    return lines


def _side(described: dict[str, Any]) -> str:
    lost = ", ".join(f"{described[kind]:,} {kind}" for kind in ("rejected", "discarded") if described[kind])
    environment = described["environment"]
    where = f", environment {environment['env']} (Python {environment['python']})" if environment else ""
    return printable(f"{described['bundle']}{where}{', ' + lost if lost else ''}")


def _column_lines(name: str, column: dict[str, Any]) -> list[str]:
    types = [kind or "absent" for kind in column["types"]]
    kind = types[0] if types[0] == types[1] else f"{types[0]} -> {types[1]}"
    lines = [f"{name} ({kind}): changed {column['changed']:,}"]
    if any(column["nulls"]):
        lines.append(f"  nulls {column['nulls'][0]:,} -> {column['nulls'][1]:,}")
    if "quantiles" in column:
        rows = [(key, *pair) for key, pair in column["quantiles"].items()] + [("mean", *column["mean"])]
        lines.append(f"  {'':<5}{'old':>14}{'new':>14}{'shift':>14}")
        lines += [f"  {key:<5}{_number(old)}{_number(new)}{_shift(old, new)}" for key, old, new in rows]
    moved = [item for item in column.get("classes", ()) if item[0] != item[1]]
    moved.sort(key=lambda item: -item[2])
    lines += [
        f"  {printable(str(old))} -> {printable(str(new))}: {count:,}" for old, new, count in moved[:_SHOWN_CLASSES]
    ]
    if len(moved) > _SHOWN_CLASSES:
        lines.append(f"  and {len(moved) - _SHOWN_CLASSES:,} more pairs (-o json has all)")
    return lines


def _number(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.6g'):>14}"


def _shift(old: float | None, new: float | None) -> str:
    return f"{'-' if old is None or new is None else format(new - old, '+.6g'):>14}"


def _percent(share: float) -> str:
    return f"{share:.2%}"
