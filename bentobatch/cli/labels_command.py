"""This module is ``bentobatch label``: it sets and removes the labels of a saved bundle."""

from __future__ import annotations

from collections.abc import Sequence

import click

from bentobatch.cli.options import debug_option
from bentobatch.cli.repository_options import joined_words, opened, quiet_option, repository_option, told
from bentobatch.cli.text import printable
from bentobatch.errors import UsageError


@click.group("label", short_help="Set or remove labels of a saved bundle.")
def label_group() -> None:
    """Set or remove labels of a saved bundle, by which `list --labels` finds it."""


@label_group.command("set", short_help="Set labels.")
@click.argument("bento", metavar="NAME:VERSION")
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE...")
@repository_option
@quiet_option
@debug_option
def set_command(bento: str, labels: Sequence[str], repository_url: str | None, quiet: bool, debug: bool) -> None:
    """Set labels of NAME:VERSION (or NAME:latest); others stay as they are. All its labels are printed."""
    del debug  # main has seen it
    wanted: dict[str, str] = {}
    for word in joined_words(labels):
        key, separator, value = word.partition("=")
        if not separator:
            raise UsageError(f"{word!r} is no label: write KEY=VALUE")
        wanted[key] = value
    with told(quiet=quiet):
        _show(opened(repository_url).set_labels(bento, wanted))


@label_group.command("unset", short_help="Remove labels.")
@click.argument("bento", metavar="NAME:VERSION")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@repository_option
@quiet_option
@debug_option
def unset_command(bento: str, keys: Sequence[str], repository_url: str | None, quiet: bool, debug: bool) -> None:
    """Remove labels of NAME:VERSION (or NAME:latest). The labels that are left are printed."""
    del debug  # main has seen it
    with told(quiet=quiet):
        _show(opened(repository_url).set_labels(bento, unset=joined_words(keys)))


def _show(labels: dict[str, str]) -> None:
    for key, value in sorted(labels.items()):
        click.echo(printable(f"{key}={value}"))
