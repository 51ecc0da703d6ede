"""This module is ``bentobatch env build``: the environment of a bundle, kept on this machine or as an archive."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bentobatch.cli.logs import Messages, logging_to
from bentobatch.cli.options import debug_option, trust_type_option
from bentobatch.cli.text import printable
from bentobatch.errors import UsageError


@click.group("env", short_help="Build the environment that a bundle runs in.")
def env_group() -> None:
    """Environments with the libraries that a bundle asks for; `bentobatch run --env` runs bundles in them."""


@env_group.command("build", short_help="Build the environment of a bundle, or an archive of it.")
@click.argument("bundle", metavar="BENTO")
@click.option(
    "-o",
    "--output",
    metavar="ENV.tar.gz",
    help="Write wheels and a lock, which another machine installs without a network (--env ENV.tar.gz).  "
    "[default: build the environment here, and print its interpreter]",
)
@click.option("--python", metavar="VERSION|PATH", help="Another Python than the one that saved the bundle.")
@click.option("--trust", is_flag=True, help="Take a bundle from a URL without its digest pinned.")
@trust_type_option
@debug_option
def build_command(
    bundle: str, output: str | None, python: str | None, trust: bool, trust_types: tuple[str, ...], debug: bool
) -> None:
    """Install what BENTO (a folder, a tag, an archive, or URL@sha256:DIGEST) asks for, as `bentobatch run --env bundle`
    does at its first use. None of the bundle's own code is run."""
    # Here and not above, as in bundles.py.
    from bentobatch.environments.archives import ARCHIVE_SUFFIX, build_archive
    from bentobatch.environments.choosing import base_for, environment_of_bundle
    from bentobatch.environments.requirements import wanted_of
    from bentobatch.repository.local import resolve

    if output is not None and not output.endswith(ARCHIVE_SUFFIX):
        raise UsageError(f"--output {output}: the name of an archive ends in {ARCHIVE_SUFFIX}")
    with logging_to(Messages(sys.stderr, "text"), quiet=False, debug=debug):
        wanted = wanted_of(resolve(bundle, trust=trust, trust_types=trust_types))
        base = base_for(wanted, python)
        if output is None:
            click.echo(printable(environment_of_bundle(wanted, base)))
            return
        made = build_archive(wanted, base, Path(output).absolute())
    click.echo(printable(f"{output}: {made['wheels']} wheels for Python {made['python']} on {made['platform']}"))
