"""This module is ``bentobatch push``, ``pull``, ``retrieve`` and ``delete``: saved bundles from place to place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bentobatch.cli.logs import Messages
from bentobatch.cli.options import debug_option
from bentobatch.cli.repository_options import (
    confirm,
    joined_words,
    opened,
    opened_elsewhere,
    quiet_option,
    repository_option,
    told,
)
from bentobatch.cli.text import printable
from bentobatch.errors import UsageError

if TYPE_CHECKING:
    from bentobatch.repository.base import Repository
    from bentobatch.repository.entry import Entry
    from bentobatch.tags import Tag

_SHOWN = 10


@click.command("push", short_help="Copy a saved bundle into another repository.")
@click.argument("bento", metavar="BUNDLE")
@click.option("--with-labels/--without-labels", default=True, help="Whether its labels go along.  [default: they do]")
@repository_option
@quiet_option
@debug_option
def push_command(bento: str, with_labels: bool, repository_url: str | None, quiet: bool, debug: bool) -> None:
    """Copy BUNDLE (NAME:VERSION or NAME:latest of this machine's repository, or a bundle's folder) into another one.

    Where the same bundle is there already, nothing changes. Another bundle of the same tag is refused with exit code 73.
    """
    from bentobatch.bundle.layout import is_bundle
    from bentobatch.repository.local import LocalRepository
    from bentobatch.repository.opening import folder_of

    del debug  # main has seen it
    with told(quiet=quiet) as messages:
        there, labels = opened_elsewhere(repository_url, "push"), None
        folder = folder_of(bento)
        if not is_bundle(folder):
            home = LocalRepository()
            entry = home.get(bento)
            folder, labels = home.find(entry.tag), entry.labels
        pushed = there.push(folder, labels=labels if with_labels else {})
        _say(messages, quiet, f"pushed {pushed.tag} to {there.where}")
    click.echo(printable(pushed.uri))


@click.command("pull", short_help="Copy a bundle of another repository into this machine's own.")
@click.argument("bento", metavar="NAME[:VERSION]")
@repository_option
@quiet_option
@debug_option
def pull_command(bento: str, repository_url: str | None, quiet: bool, debug: bool) -> None:
    """Copy NAME:VERSION or NAME:latest of another repository, with its labels, into this machine's own, verified."""
    from bentobatch.repository.local import LocalRepository

    del debug  # main has seen it
    with told(quiet=quiet) as messages:
        there = opened_elsewhere(repository_url, "pull")
        pulled = there.pull(bento, LocalRepository())
        _say(messages, quiet, f"pulled {pulled.tag} from {there.where}")
    click.echo(printable(pulled.uri))


@click.command("retrieve", short_help="Copy a saved bundle into a folder.")
@click.argument("bento", metavar="NAME[:VERSION]")
@click.option(
    "--target_dir",
    "--target-dir",
    metavar="DIR",
    help="The folder that the bundle is to be; what exists is not overwritten.  [default: ./NAME_VERSION]",
)
@repository_option
@quiet_option
@debug_option
def retrieve_command(bento: str, target_dir: str | None, repository_url: str | None, quiet: bool, debug: bool) -> None:
    """Copy NAME:VERSION or NAME:latest out of the repository into a new folder, verified, whole or not at all."""
    from bentobatch.repository.opening import folder_of

    del debug  # main has seen it
    with told(quiet=quiet) as messages:
        repository = opened(repository_url)
        tag = repository.get(bento).tag
        target = folder_of(f"./{tag.name}_{tag.version}" if target_dir is None else target_dir)
        place = repository.retrieve(tag, target)
        _say(messages, quiet, f"retrieved {tag} from {repository.where}")
    click.echo(printable(str(place)))


@click.command("delete", short_help="Delete saved bundles.")
@click.argument("targets", nargs=-1, metavar="[NAME[:VERSION]]...")
@click.option("--all", "everything", is_flag=True, help="Every bundle.")
@click.option("--labels", metavar="SELECTOR", help="Of those that are named (or of all), only what this selects.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@repository_option
@quiet_option
@debug_option
def delete_command(
    targets: Sequence[str],
    everything: bool,
    labels: str | None,
    yes: bool,
    repository_url: str | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Delete NAME:VERSION, or all versions of NAME; several may be given, with blanks or commas between them."""
    del debug  # main has seen it
    words = joined_words(targets)
    if everything == bool(words) and not (labels and not words):
        raise UsageError("say what to delete: NAME:VERSION, NAME, --labels SELECTOR or --all")
    with told(quiet=quiet) as messages:
        repository = opened(repository_url)
        tags = _named(repository, words, labels or "")
        if not tags:
            _say(messages, quiet, "nothing to delete")
            return
        shown = ", ".join(map(str, tags[:_SHOWN])) + (f" and {len(tags) - _SHOWN} more" if len(tags) > _SHOWN else "")
        confirm(f"Delete {shown} from {repository.where}?", yes=yes)
        for tag in tags:
            repository.delete(tag)
            _say(messages, quiet, f"deleted {tag}")


def _named(repository: Repository, words: Sequence[str], labels: str) -> list[Tag]:
    """The tags that are meant, each once.

    Raises:
        NoInputError: one that is named is not there.
    """
    from bentobatch.labels import Selector
    from bentobatch.repository.base import one_version

    selector = Selector.parse(labels)
    found: list[Entry] = [] if words else list(repository.list(labels=labels))
    for word in words:
        if ":" in word:
            found += [repository.get(one_version(word, "delete"))]
        else:
            repository.get(word)  # a name that is not there is an error
            found += repository.list(word)
    return list(dict.fromkeys(entry.tag for entry in found if selector.matches(entry.labels)))


def _say(messages: Messages, quiet: bool, text: str) -> None:
    if not quiet:
        messages.event("info", text)
