"""This module is ``bentobatch migrate``: BentoML's bundle becomes one of ours. Its code runs in a child process."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import traceback

import click

from bentobatch.cli.options import debug_option
from bentobatch.cli.text import printable
from bentobatch.engine.wire import Wire, error_from_json, error_to_json
from bentobatch.errors import BentobatchError, BundleError

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[4]);"
    "from bentobatch.cli.migrate import main_of_child; main_of_child(sys.argv[1:])"
)


@click.command("migrate", short_help="Turn a bundle of BentoML 0.13 into one of bentobatch.")
@click.argument("old")
@click.argument("new")
@click.option("--trust", is_flag=True, help="Take a bundle from a URL without its digest pinned.")
@debug_option
def migrate_command(old: str, new: str, trust: bool, debug: bool) -> None:
    """Rewrite OLD, a bundle that BentoML 0.13 or an older one saved (its folder, an archive of it, or a tag), as the folder
    NEW, which must not exist. Models stay as they are, file by file, and so do version, requirements and Python version.

    Not needed to run it: `bentobatch run OLD` does that as well.
    """
    # Here and not above, as in bundles.py.
    from bentobatch.repository.local import resolve

    del debug  # main has seen it
    folder = resolve(old, trust=trust)
    ours, theirs = socket.socketpair()
    with theirs:
        arguments = [str(theirs.fileno()), str(folder), os.path.abspath(new), json.dumps(sys.path)]
        child = subprocess.Popen(
            [sys.executable, "-c", _START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    wire = Wire(ours)
    try:
        answer = wire.receive()
        status = child.wait()
    finally:
        child.kill()
        child.wait()
        wire.close()
    if answer is None:
        raise BundleError(f"bundle {folder}: its code ended the process with status {status} while it was loaded")
    if "error" in answer:
        raise error_from_json(answer["error"])
    made = answer["result"]
    click.echo(printable(f"{made['tag']} is now {made['folder']}, sha256:{made['digest']}"))
    if made["kept"] is not None:
        click.echo(printable(f"its code is as it was, with BentoML's names provided: {made['kept']}"), err=True)


def main_of_child(arguments: list[str]) -> None:
    """The child's entry: migrate, and say how it went."""
    os.dup2(2, 1)  # what the bundle's code prints must not mix with results
    wire = Wire(socket.socket(fileno=int(arguments[0])))
    try:
        from bentobatch.bundle.migrate import migrate  # a leader does without what this imports

        wire.send({"result": dataclasses.asdict(migrate(arguments[1], arguments[2]))})
    except BentobatchError as error:
        wire.send({"error": error_to_json(error, traceback.format_exc())})
