"""This module is ``bentobatch repository-server``: it serves a repository to others, and makes the tokens for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from bentobatch.cli.options import debug_option
from bentobatch.cli.parameters import size
from bentobatch.cli.repository import place_options, repository_at
from bentobatch.cli.repository_options import quiet_option, told
from bentobatch.errors import UsageError

TOKENS_VARIABLE = "BENTOBATCH_SERVER_TOKENS"
SECRET_VARIABLE = "BENTOBATCH_SERVER_SECRET"  # noqa: S105 - the name of a variable


@click.group("repository-server", short_help="Serve a repository to others.")
def repository_server_group() -> None:
    """Serve a repository to others: an HTTP API, which --repository-url takes the URL of, and web pages."""


@repository_server_group.command("start", short_help="Start the server.")
@place_options
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. One that others reach, such as 0.0.0.0, needs tokens.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="0 takes a free one.")
@click.option("--ui/--no-ui", default=True, help="With the web pages, or with the API alone.  [default: with them]")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"Who may come in: hashed tokens, as `repository-server token` makes them. It is read anew for each request. "
    f"{TOKENS_VARIABLE} may hold them instead.",
)
@click.option(
    "--public-url",
    metavar="URL",
    help="How the users reach the server, where that is not --host and --port: https://models.example.org.",
)
@click.option(
    "--max-upload-size", type=size, default="20GiB", show_default=True, metavar="SIZE", help="Of a pushed archive."
)
@click.option(
    "--threads", type=click.IntRange(1, 500), default=16, show_default=True, help="Requests at the same time."
)
@click.option("--tls-cert", type=click.Path(path_type=Path, exists=True), metavar="FILE", help="Serve https.")
@click.option("--tls-key", type=click.Path(path_type=Path, exists=True), metavar="FILE", help="The certificate's key.")
@quiet_option
@debug_option
def start_command(
    db_url: str | None,
    storage_url: str | None,
    storage_options: tuple[tuple[str, Any], ...],
    host: str,
    port: int,
    ui: bool,
    token_file: Path | None,
    public_url: str | None,
    max_upload_size: int,
    threads: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Serve the repository of --db-url and --storage-url, by default this machine's own, until it is stopped.

    By default only this machine reaches it, and then everybody on it may read and write unless there are tokens.
    """
    del debug  # main has seen it
    from bentobatch.repository.server.running import check_libraries, listening, serve

    check_libraries()
    from bentobatch.repository.server.state import options_for

    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key go together")
    with told(quiet=quiet) as messages:
        repository = repository_at(db_url, storage_url, storage_options)
        secret = os.environ.get(SECRET_VARIABLE)
        options = options_for(
            host,
            tokens=_tokens(token_file),
            public_url=public_url,
            ui=ui,
            most_bytes=max_upload_size,
            secret=None if secret is None else secret.encode(),
        )
        repository.list(limit=1)  # what is wrong with the catalog is told now
        repository.close()
        listener = listening(host, port)
        shown = f"[{host}]" if ":" in host else host
        url = f"{'https' if tls_cert else 'http'}://{shown}:{listener.getsockname()[1]}"
        if not quiet:
            rights = (
                "everybody on this machine may read and write" if options.tokens is None else "tokens are asked for"
            )
            messages.event("info", f"serving the repository {repository.where} at {url}; {rights}; Ctrl-C stops it")
        certificate = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
        serve(
            lambda: repository_at(db_url, storage_url, storage_options),
            options,
            listener=listener,
            threads=threads,
            certificate=certificate,
        )


@repository_server_group.command("token", short_help="Make a token.")
@click.argument("kind", type=click.Choice(["read", "write"]))
@click.option("--name", default="", help="Whose it is, for you to know.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Add its hash to this file.  [default: say on stderr what belongs there]",
)
@debug_option
def token_command(kind: str, name: str, token_file: Path | None, debug: bool) -> None:
    """Make a random token that may read, or read and write, and print it: it is shown this once, and only its hash kept.

    To revoke it, remove its line from the server's token file: it counts no longer from that moment on.
    """
    del debug  # main has seen it
    from bentobatch.repository.server.auth import append, new_token

    text, token = new_token("write" if kind == "write" else "read", name)
    if token_file is not None:
        append(token_file, token)
    else:
        click.echo(f"this line belongs into the server's token file, or into {TOKENS_VARIABLE}:\n{token}", err=True)
    click.echo(text)


def _tokens(file: Path | None) -> Any:
    from bentobatch.repository.server.auth import Tokens

    text = os.environ.get(TOKENS_VARIABLE)
    if file is not None and text is not None:
        raise UsageError(f"--token-file and {TOKENS_VARIABLE} are two lists of tokens: give one of them")
    if file is None and text is None:
        return None
    return Tokens(file=file, text=text or "")
