"""This module is the console command of an installed bundle: bentobatch's own commands, with the bundle filled in."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from bentobatch.cli.main import cli
from bentobatch.cli.main import main as run_main

COMMANDS = ("run", "info", "open-api-spec", "serve", "serve-gunicorn")
_PARAMETERS = ("bundle", "bento")


def main(name: str, bundle: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command line of the command ``name``, that of the installed ``bundle``; returns its exit code."""
    return run_main(arguments, command=command_of(name, bundle), name=name)


def command_of(name: str, bundle: str) -> click.Group:
    """The commands of COMMANDS, without their argument for the bundle, as the group ``name``."""
    group = click.Group(name, help=f"What the installed bundle {name} can do, at {bundle}.")
    for each in COMMANDS:
        command = cli.commands.get(each)
        if command is not None:
            group.add_command(_with_bundle(command, bundle))
    return group


def _with_bundle(command: click.Command, bundle: str) -> click.Command:
    made = copy.copy(command)
    (taken,) = [one for one in command.params if isinstance(one, click.Argument) and one.name in _PARAMETERS]
    made.params = [one for one in command.params if one is not taken]
    value: dict[str, Any] = {str(taken.name): (bundle,) if taken.nargs == -1 else bundle}
    made.callback = None if command.callback is None else partial(command.callback, **value)
    return made
