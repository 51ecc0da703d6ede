"""This module is ``bentobatch info`` and ``bentobatch list``: what a bundle holds, and which bundles there are."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from bentobatch.cli.options import debug_option
from bentobatch.cli.text import printable

if TYPE_CHECKING:
    from bentobatch.repository.local import SavedBundle

_HEADER = ("BENTO", "CREATED (UTC)", "APIS", "ARTIFACTS")


@click.command("info", short_help="Show what a bundle holds.")
@click.argument("bundle")
@click.option("--trust", is_flag=True, help="Take a bundle from a URL without its digest pinned.")
@debug_option
def info_command(bundle: str, trust: bool, debug: bool) -> None:
    """Show the manifest of BUNDLE (a folder, a tag such as NAME:latest, an archive or a URL) as JSON. None of its code
    is run."""
    # Here and not above, as in list_command: --help must not pay for the reading of YAML.
    from bentobatch.bundle.manifest import read_manifest
    from bentobatch.repository.local import resolve

    del debug  # main has seen it
    manifest = read_manifest(resolve(bundle, trust=trust))
    text = json.dumps(manifest.content, indent=2, ensure_ascii=False, default=_as_json)
    # A bundle may come from anywhere: what a terminal would obey is escaped as JSON does it.
    click.echo("".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text))


@click.command("list", short_help="List the saved bundles.")
@debug_option
def list_command(debug: bool) -> None:
    """List the bundles of the local repository: names in alphabetical order, the newest of each name first."""
    from bentobatch.repository.local import LocalRepository

    del debug  # main has seen it
    rows = [_row(saved) for saved in LocalRepository().bundles()]
    for line in table_lines([_HEADER, *rows]):
        click.echo(line)


def table_lines(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """The rows as lines with their columns aligned; the first row is the header."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    for row in shown:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(saved: SavedBundle) -> tuple[str, ...]:
    manifest = saved.manifest
    apis = manifest.content.get("apis") or []
    return (
        manifest.tag,
        f"{manifest.created_at:%Y-%m-%d %H:%M}",
        ", ".join(f"{api.get('name')}<{api.get('input_type')}:{api.get('output_type')}>" for api in apis),
        ", ".join(manifest.artifacts),
    )


def _as_json(value: Any) -> str:
    """What YAML has and JSON has not: times, and the bytes of a setup script."""
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"a manifest holds no {type(value).__name__}")
