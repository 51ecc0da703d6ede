"""This module has the options that the commands about saved bundles share, and opens the repository that they name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bentobatch.cli.logs import Messages, logging_to
from bentobatch.errors import UsageError

if TYPE_CHECKING:
    from bentobatch.repository.base import Repository

F = TypeVar("F", bound=Callable[..., Any])

OUTPUTS = ("table", "json", "yaml", "wide")


def repository_option(function: F) -> F:
    """--repository-url: which repository is meant."""
    return click.option(
        "--repository-url",
        metavar="URL",
        help="The repository: a server's URL or a folder.  [default: BENTOBATCH_REPOSITORY_URL, else the setting "
        "repository_url, else this machine's own]",
    )(function)


def quiet_option(function: F) -> F:
    """-q: nothing on stderr but errors and warnings."""
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but results, warnings and errors.")(function)


def query_options(function: F) -> F:
    """What ``list`` and ``get NAME`` take to choose and to order."""
    for option in reversed(
        (
            click.option(
                "--labels",
                metavar="SELECTOR",
                default="",
                help="Only bundles that these label requirements hold for: key=value, key!=value, key In (a, b), "
                "key NotIn (a, b), key Exists, key DoesNotExist, with commas between them.",
            ),
            click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many."),
            click.option("--offset", type=click.IntRange(min=0), default=0, metavar="N", help="Pass over so many."),
            click.option(
                "--order-by",
                type=click.Choice(["name", "created_at"]),
                default="name",
                show_default=True,
                help="By name, and the newest of each first; or the newest of all first.",
            ),
            click.option("--ascending-order", is_flag=True, help="The oldest first."),
            click.option(
                "-o", "--output", type=click.Choice(OUTPUTS), default="table", show_default=True, help="The form."
            ),
        )
    ):
        function = option(function)
    return function


def opened(url: str | None) -> Repository:
    """The repository that --repository-url names, or the settings."""
    from bentobatch.repository.local import open_repository  # here and not above: --help must not pay for it

    return open_repository(url)


def opened_elsewhere(url: str | None, verb: str) -> Repository:
    """The repository to push to or to pull from, which is not this machine's own.

    Raises:
        UsageError: none is named.
    """
    from bentobatch.repository.local import is_home, open_repository

    repository = open_repository(url)
    if is_home(repository):
        raise UsageError(
            f"{verb} needs another repository: give --repository-url, or set one with "
            "`bentobatch config set repository_url=URL`"
        )
    return repository


@contextmanager
def told(*, quiet: bool) -> Iterator[Messages]:
    """The writer of stderr, to which the log goes as well."""
    messages = Messages(sys.stderr)
    with logging_to(messages, quiet=quiet):
        yield messages


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost.

    Raises:
        UsageError: nobody is there to answer.
        click.exceptions.Exit: the answer is no (exit 1).
    """
    if yes:
        return
    if not sys.stdin or not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is there to answer: give --yes")
    if not click.confirm(question, err=True):
        click.echo("bentobatch: nothing was done", err=True)
        raise click.exceptions.Exit(1)


def joined_words(words: Sequence[str]) -> list[str]:
    """Words that may have commas between them, as one list."""
    return [part.strip() for word in words for part in word.split(",") if part.strip()]
