"""This module is ``bentobatch open-api-spec``: the description of a bundle's apis for other programs."""

from __future__ import annotations

import json

import click

from bentobatch.cli.options import TRUST_HELP, debug_option, trust_type_option
from bentobatch.cli.repository_options import repository_option
from bentobatch.errors import BundleError


@click.command("open-api-spec", short_help="Show the OpenAPI document of a bundle.")
@click.argument("bento")
@click.option("--trust", is_flag=True, help=TRUST_HELP)
@trust_type_option
@repository_option
@debug_option
def open_api_spec_command(
    bento: str, trust: bool, trust_types: tuple[str, ...], repository_url: str | None, debug: bool
) -> None:
    """Show the apis of BENTO (a folder, a tag such as NAME:latest, an archive, or URL@sha256:DIGEST) as OpenAPI, in JSON.
    None of its code is run. A server that runs has more to say, at /openapi.json."""
    # Here and not above, as in bundles.py.
    from bentobatch.bundle.digest import verify_file
    from bentobatch.bundle.layout import API_DOCS
    from bentobatch.bundle.manifest import read_manifest
    from bentobatch.cli.bundles import json_text
    from bentobatch.repository.local import resolve

    del debug  # main has seen it
    folder = resolve(bento, trust=trust, repository_url=repository_url, trust_types=trust_types)
    manifest = read_manifest(folder)
    if API_DOCS not in manifest.files:
        raise BundleError(f"bundle {folder}: it has no {API_DOCS}; save it again")
    data = verify_file(folder, API_DOCS, manifest.files[API_DOCS], keep=True) or b""
    try:
        document = json.loads(data)
    except ValueError as error:
        raise BundleError(f"bundle {folder}: its {API_DOCS} is no JSON ({error}); save it again") from error
    click.echo(json_text(document))
