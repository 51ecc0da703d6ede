"""This module is ``bentobatch clean``: it removes what runs have left beside an output."""

from __future__ import annotations

from typing import Any

import click

from bentobatch.cli.options import debug_option
from bentobatch.cli.parameters import storage_option
from bentobatch.cli.text import printable


@click.command("clean", short_help="Remove what runs have left beside an output.")
@click.argument("output")
@click.option(
    "--storage-option",
    "storage_options",
    type=storage_option,
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the file system of URLs (repeatable), such as a key. It is stored and logged nowhere.",
)
@click.option("--state-dir", metavar="DIR", help="Where the runs kept their state.  [default: beside the output]")
@click.option("--output-format", metavar="NAME", help="As it was given to the runs.  [default: by extension]")
@click.option(
    "--break-lock", is_flag=True, help="Also where a run in a bucket still holds the lease; it then cannot commit."
)
@debug_option
def clean_command(
    output: str,
    storage_options: tuple[tuple[str, Any], ...],
    state_dir: str | None,
    output_format: str | None,
    break_lock: bool,
    debug: bool,
) -> None:
    """Remove the state that runs into OUTPUT, a path or URL, have left beside it: plans, finished splits, commit records,
    unfinished uploads, parts that were never committed. OUTPUT itself and its rejects file stay.

    What was scored and not committed is lost, and the next run into OUTPUT needs --overwrite if it exists. It is refused
    with exit code 75 while a run works on OUTPUT.
    """
    # Here and not above: --help must not pay for what the engine imports.
    from bentobatch.engine.clean import clean
    from bentobatch.engine.place import absolute, place_at

    del debug  # main has seen it
    where = absolute(output) + ("/" if output.endswith("/") and not absolute(output).endswith("/") else "")
    place = place_at(where, output_format, state_dir=None if state_dir is None else absolute(state_dir))
    done = clean(place, storage_options=dict(storage_options) or None, break_lock=break_lock)
    if done.nothing:
        click.echo(f"nothing to remove beside {printable(place.output)}", err=True)
        return
    pieces = [f"the state in {printable(place.state)}"] if done.state else []
    pieces += [f"{len(done.parts):,} uncommitted parts"] if done.parts else []
    pieces += [f"{done.uploads:,} unfinished uploads"] if done.uploads else []
    click.echo(f"removed {', '.join(pieces)}", err=True)
