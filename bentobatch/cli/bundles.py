"""This module is ``bentobatch info``, ``list`` and ``get``: what a bundle holds, and which bundles there are."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from bentobatch.cli.options import debug_option, trust_type_option
from bentobatch.cli.repository_options import opened, query_options, quiet_option, repository_option, told
from bentobatch.cli.text import printable

if TYPE_CHECKING:
    from bentobatch.repository.entry import Entry

_HEADER = ("BENTO_SERVICE", "AGE", "APIS", "ARTIFACTS", "LABELS")
_HEADER_OF_ONE = ("BENTO_SERVICE", "CREATED_AT", "APIS", "ARTIFACTS", "LABELS")
_WIDE = ("SIZE", "DIGEST", "URI")
_UNITS = (("week", 7 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


@click.command("info", short_help="Show what a bundle holds.")
@click.argument("bundle")
@click.option("--trust", is_flag=True, help="Take a bundle from a URL without its digest pinned.")
@trust_type_option
@debug_option
def info_command(bundle: str, trust: bool, trust_types: tuple[str, ...], debug: bool) -> None:
    """Show the manifest of BUNDLE (a folder, a tag such as NAME:latest, an archive or a URL) as JSON. None of its code
    is run. Of a model file (.onnx, .skops, an MLflow model's folder), a bundle is made first."""
    # Here and not above, as in list_command: --help must not pay for the reading of YAML.
    from bentobatch.bundle.manifest import read_manifest
    from bentobatch.repository.local import resolve

    del debug  # main has seen it
    manifest = read_manifest(resolve(bundle, trust=trust, trust_types=trust_types))
    click.echo(json_text({**manifest.content, "digest": manifest.digest}))  # BentoML's manifests have no digest


@click.command("list", short_help="List the saved bundles.")
@query_options
@repository_option
@quiet_option
@debug_option
def list_command(
    labels: str,
    limit: int | None,
    offset: int,
    order_by: str,
    ascending_order: bool,
    output: str,
    repository_url: str | None,
    quiet: bool,
    debug: bool,
) -> None:
    """List the saved bundles: names in alphabetical order, the newest of each name first."""
    del debug  # main has seen it
    with told(quiet=quiet):
        entries = opened(repository_url).list(
            labels=labels, limit=limit, offset=offset, order_by=order_by, ascending=ascending_order
        )
    _show(entries, output, _HEADER)


@click.command("get", short_help="Show one saved bundle, or all versions of a name.")
@click.argument("bento", metavar="NAME[:VERSION]")
@query_options
@click.option("--print-location", is_flag=True, help="Print only where the bundle lies: a folder or a URL.")
@repository_option
@quiet_option
@debug_option
def get_command(
    bento: str,
    labels: str,
    limit: int | None,
    offset: int,
    order_by: str,
    ascending_order: bool,
    output: str,
    print_location: bool,
    repository_url: str | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Show what is known of NAME:VERSION or NAME:latest as JSON, or list the versions of NAME.

    --labels and the other options for lists are ignored where a version is given.
    """
    from bentobatch.tags import Tag

    del debug  # main has seen it
    tag = Tag.parse(bento)
    with told(quiet=quiet):
        repository = opened(repository_url)
        if ":" in bento:
            entries: Sequence[Entry] = [repository.get(tag)]
        else:
            repository.get(tag)  # a name that is not there is an error, a selector that matches none is not
            entries = repository.list(
                tag.name, labels=labels, limit=limit, offset=offset, order_by=order_by, ascending=ascending_order
            )
    if print_location:
        for entry in entries:
            click.echo(printable(entry.uri))
    elif ":" in bento:
        _show_one(entries[0], output)
    else:
        _show(entries, output, _HEADER_OF_ONE)


def _show_one(entry: Entry, output: str) -> None:
    """The default of ``get NAME:VERSION`` is JSON, as BentoML's users know it."""
    if output == "wide":
        _show([entry], output, _HEADER_OF_ONE)
    else:
        click.echo(_yaml_text(entry.to_json()) if output == "yaml" else json_text(entry.to_json()))


def _show(entries: Sequence[Entry], output: str, header: tuple[str, ...]) -> None:
    if output in ("json", "yaml"):
        values = [entry.to_json() for entry in entries]
        click.echo(json_text(values) if output == "json" else _yaml_text(values))
        return
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    rows = [row_of(entry, now, age="AGE" in header) for entry in entries]
    if output == "wide":
        header = (*header, *_WIDE)
        rows = [(*row, size_text(one.size), one.digest, one.uri) for row, one in zip(rows, entries, strict=True)]
    for line in table_lines([header, *rows]):
        click.echo(line)


def row_of(entry: Entry, now: datetime.datetime, *, age: bool) -> tuple[str, ...]:
    """A bundle's line in a table, with its age at ``now`` or with its time."""
    apis = entry.metadata.get("apis") or []
    artifacts = entry.metadata.get("artifacts") or []
    return (
        str(entry.tag),
        age_text((now - entry.created_at).total_seconds()) if age else f"{entry.created_at:%Y-%m-%d %H:%M}",
        ", ".join(f"{api.get('name')}<{api.get('InputType')}:{api.get('OutputType')}>" for api in apis),
        ", ".join(f"{one.get('name')}<{one.get('artifactType')}>" for one in artifacts),
        ", ".join(f"{key}={value}" for key, value in sorted(entry.labels.items())),
    )


def age_text(seconds: float) -> str:
    """The two largest units: "3 weeks and 4 hours", "12 minutes and 5 seconds"; the future counts as now."""
    left = max(0, int(seconds))
    parts = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return " and ".join(parts[:2]) or "0 seconds"


def size_text(size: int) -> str:
    """Bytes for people, in powers of 1024."""
    number, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{size} B" if unit == "B" else f"{number:.1f} {unit}"


def table_lines(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """The rows as lines with their columns aligned; the first row is the header."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    for row in shown:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def json_text(value: Any) -> str:
    """JSON in lines. A bundle may come from anywhere: what a terminal would obey is escaped as JSON does it."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_as_json)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def _yaml_text(value: Any) -> str:
    import yaml  # as in info_command

    text: str = yaml.safe_dump(value, sort_keys=False)  # ASCII: everything else is escaped
    return text.rstrip("\n")


def _as_json(value: Any) -> str:
    """What YAML has and JSON has not: times, and the bytes of a setup script."""
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"a manifest holds no {type(value).__name__}")
