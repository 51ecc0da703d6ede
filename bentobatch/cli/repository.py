"""This module is ``bentobatch repository``: it looks a repository's storage over, and clears it up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bentobatch.cli.options import debug_option
from bentobatch.cli.parameters import storage_option
from bentobatch.cli.repository_options import quiet_option, told
from bentobatch.cli.text import printable
from bentobatch.errors import DataError, UsageError

if TYPE_CHECKING:
    from bentobatch.repository.local import LocalRepository

F = TypeVar("F", bound=Callable[..., Any])


@click.group("repository", short_help="Check or clear up a repository.")
def repository_group() -> None:
    """Check or clear up a repository by its catalog and its storage; by default this machine's own."""


def place_options(function: F) -> F:
    """--db-url, --storage-url and --storage-option: the repository's own parts."""
    for option in reversed(
        (
            click.option(
                "--db-url",
                metavar="URL",
                envvar="BENTOBATCH_REPOSITORY_DB_URL",
                help="The catalog: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE. In the environment "
                "(BENTOBATCH_REPOSITORY_DB_URL) others do not see the password.  [default: <home>/catalog.db]",
            ),
            click.option(
                "--storage-url",
                metavar="URL",
                help="The bundles' files: a path, or a URL such as s3://bucket/prefix.  [default: <home>/repository]",
            ),
            click.option(
                "--storage-option",
                "storage_options",
                type=storage_option,
                multiple=True,
                metavar="NAME=VALUE",
                help="An option of the storage's file system (repeatable), such as a key. It is stored nowhere.",
            ),
        )
    ):
        function = option(function)
    return function


def repository_at(
    db_url: str | None, storage_url: str | None, storage_options: tuple[tuple[str, Any], ...] = ()
) -> LocalRepository:
    """The repository of these parts.

    Raises:
        UsageError: a storage elsewhere has no catalog.
    """
    from bentobatch.repository.local import LocalRepository
    from bentobatch.repository.opening import folder_of, storage_of

    if storage_url is None:
        return LocalRepository(db_url=db_url)
    if "://" not in storage_url or storage_url.startswith("file://"):
        return LocalRepository(folder_of(storage_url), db_url=db_url)
    if db_url is None:
        raise UsageError("a storage that is no folder needs its catalog: give --db-url")
    return LocalRepository(db_url=db_url, storage=storage_of(storage_url, dict(storage_options)))


@repository_group.command("check", short_help="Find what is missing, extra or changed.")
@place_options
@click.option("--read-data", is_flag=True, help="Read every byte, and compare it with what was saved.")
@quiet_option
@debug_option
def check_command(
    db_url: str | None,
    storage_url: str | None,
    storage_options: tuple[tuple[str, Any], ...],
    read_data: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Compare the storage with the catalog, and print every object that is missing, extra or changed, by its name.

    Exit code 65 when there is one. Without --read-data, names, sizes and manifests are compared.
    """
    from bentobatch.repository.check import check

    del debug  # main has seen it
    with told(quiet=quiet) as messages:
        repository = repository_at(db_url, storage_url, storage_options)
        count = 0
        for problem in check(repository, read_data=read_data):
            click.echo(printable(str(problem)))
            count += problem.kind != "leftover"
        if count:
            raise DataError(f"{count:,} objects of the repository {repository.where} are missing, extra or changed")
        if not quiet:
            messages.event("info", f"the repository {repository.where} is sound")


@repository_group.command("gc", short_help="Remove what pushes and deletions left behind.")
@place_options
@click.option(
    "--min-age",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Leave younger things alone: a push may be under way.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only print what would be removed.")
@quiet_option
@debug_option
def gc_command(
    db_url: str | None,
    storage_url: str | None,
    storage_options: tuple[tuple[str, Any], ...],
    min_age: float,
    dry_run: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Remove what pushes, savings and deletions that were cut off have left in the storage, and print its names.

    What others have put there stays; `repository check` shows it. One storage must not have two catalogs.
    """
    from bentobatch.repository.check import gc

    del debug  # main has seen it
    with told(quiet=quiet):
        for leftover in gc(
            repository_at(db_url, storage_url, storage_options), min_age=min_age * 3600, dry_run=dry_run
        ):
            click.echo(printable(leftover.path))
