"""This module is ``bentobatch keygen``, ``sign`` and ``verify``: who made a bundle, and whether it may be run here."""

from __future__ import annotations

from pathlib import Path

import click

from bentobatch.cli.options import debug_option
from bentobatch.cli.repository_options import quiet_option, told


@click.command("keygen", short_help="Make a key to sign bundles with.")
@click.argument("file", type=click.Path(path_type=Path))
@debug_option
def keygen_command(file: Path, debug: bool) -> None:
    """Write a new private key (ed25519) into FILE, and its public key into FILE.pub, which is printed too."""
    from bentobatch.bundle.signatures import make_key  # here and not above: --help must not pay for it

    del debug  # main has seen it
    click.echo(make_key(file))


@click.command("sign", short_help="Sign a bundle.")
@click.argument("bento", metavar="BUNDLE")
@click.option("--key", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A key of `keygen`.")
@quiet_option
@debug_option
def sign_command(bento: str, key: Path, quiet: bool, debug: bool) -> None:
    """Sign BUNDLE, a folder or a tag of this machine's repository, after every file was compared with its manifest.

    The signature lies in the bundle's folder, and goes along with push and pull. To sign what is in another repository,
    pull it, sign it, and push it again.
    """
    from bentobatch.bundle.signatures import sign
    from bentobatch.bundle.verify import verify_bundle

    del debug  # main has seen it
    with told(quiet=quiet) as messages:
        folder = _folder(bento)
        manifest = verify_bundle(folder)
        public = sign(folder, key)
        if not quiet:
            messages.event("info", f"signed {manifest.tag} (sha256:{manifest.digest}) with {public}")


@click.command("verify", short_help="Verify a bundle, and show who signed it.")
@click.argument("bento", metavar="BUNDLE")
@quiet_option
@debug_option
def verify_command(bento: str, quiet: bool, debug: bool) -> None:
    """Compare every file of BUNDLE (a folder or a tag) with its manifest, print the public keys that have signed it, and
    ask the policy whether it may be run here. Exit code 65 when it may not, or was changed. None of its code is run."""
    from bentobatch.bundle.policy import check_policy
    from bentobatch.bundle.signatures import read_signatures, signers
    from bentobatch.bundle.verify import verify_bundle
    from bentobatch.repository.local import resolve

    del debug  # main has seen it
    with told(quiet=quiet) as messages:
        folder = resolve(bento)
        manifest = verify_bundle(folder)
        for public in sorted(signers(read_signatures(folder), manifest.digest)):
            click.echo(public)
        check_policy(folder, manifest)
        if not quiet:
            messages.event("info", f"{manifest.tag} is sound (sha256:{manifest.digest})")


def _folder(bento: str) -> Path:
    """The bundle's own folder: a copy in the cache would be signed in vain."""
    from bentobatch.bundle.layout import is_bundle
    from bentobatch.repository.local import LocalRepository
    from bentobatch.repository.opening import folder_of
    from bentobatch.tags import Tag

    folder = folder_of(bento)
    return folder if is_bundle(folder) else LocalRepository().find(Tag.parse(bento))
