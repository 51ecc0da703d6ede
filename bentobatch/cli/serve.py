"""This module is ``bentobatch serve``, which puts a bundle behind a URL, and the options of all servers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bentobatch.cli.options import TRUST_HELP, debug_option, trust_type_option
from bentobatch.cli.parameters import size
from bentobatch.cli.repository_options import quiet_option, repository_option, told
from bentobatch.errors import MissingDependencyError, UsageError
from bentobatch.loopback import is_loopback

if TYPE_CHECKING:
    from bentobatch.service.core import ServiceCore
    from bentobatch.serving.options import ServingOptions

F = TypeVar("F", bound=Callable[..., Any])
_MIB = 1 << 20


def serving_options(function: F) -> F:
    """The options that all servers take; ``chosen`` makes ServingOptions of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS = (
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        help="The address to listen on. One that others reach, such as 0.0.0.0, needs --token or --no-auth.",
    ),
    click.option(
        "--port",
        "-p",
        type=click.IntRange(0, 65535),
        default=5000,
        show_default=True,
        envvar=["BENTOBATCH_PORT", "AIP_HTTP_PORT"],
        help="0 takes a free one, which is printed.",
    ),
    click.option(
        "--token",
        metavar="TEXT",
        envvar="BENTOBATCH_TOKEN",
        help="Who sends it (Authorization: Bearer TEXT) may come in: 16 characters or more. Rather set BENTOBATCH_TOKEN, "
        "since others on this machine can read a command line.",
    ),
    click.option("--no-auth", is_flag=True, help="Let everybody in who reaches --host."),
    click.option(
        "--allowed-host",
        "hosts",
        multiple=True,
        metavar="NAME",
        help="A name by which clients reach the server, where that is not --host (repeatable).  [default: of a server on "
        "loopback this machine's own names, else any]",
    ),
    click.option(
        "--cors-origin",
        "cors_origins",
        multiple=True,
        metavar="URL",
        help="A site whose pages may call the server, such as https://app.example.org (repeatable).  [default: none]",
    ),
    click.option(
        "--mb-max-batch-size",
        type=click.IntRange(min=1),
        metavar="ROWS",
        envvar="BENTOBATCH_MB_MAX_BATCH_SIZE",
        help="Most rows of one call of an api; with 1 requests are not joined.  [default: the api's own]",
    ),
    click.option(
        "--mb-max-latency",
        type=click.FloatRange(min=0, min_open=True),
        metavar="MS",
        envvar="BENTOBATCH_MB_MAX_LATENCY",
        help="Milliseconds that a request shall take at most: calls are kept so short, and what would have to wait longer for"
        " others is refused with 503.  [default: the api's own]",
    ),
    click.option(
        "--max-queue-rows",
        type=click.IntRange(min=1),
        metavar="ROWS",
        help="Rows that may wait for an api; more are refused with 503.  [default: four full calls, at least 1000]",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="A request that has waited so long is not scored any more.",
    ),
    click.option(
        "--max-body-size", type=size, default=20 * _MIB, metavar="SIZE", help="Of a request.  [default: 20MiB]"
    ),
    click.option(
        "--max-inflated-size",
        type=size,
        default=100 * _MIB,
        metavar="SIZE",
        help="Of a request that was sent as gzip.  [default: 100MiB]",
    ),
    click.option(
        "--max-rows",
        type=click.IntRange(min=1),
        default=100_000,
        show_default=True,
        metavar="ROWS",
        help="Of one request.",
    ),
    click.option("--access-log/--no-access-log", default=False, help="A line for each request.  [default: none]"),
    click.option("--trust", is_flag=True, help=TRUST_HELP),
    trust_type_option,
    click.option(
        "--no-pickle", is_flag=True, help="Refuse a bundle whose models are pickles, which run code when loaded."
    ),
    repository_option,
    quiet_option,
    debug_option,
)


@click.command("serve", short_help="Put a bundle behind a URL, to try it out.")
@click.argument("bento", metavar="BUNDLE")
@serving_options
def serve_command(bento: str, **options: Any) -> None:
    """Serve the apis of BUNDLE over HTTP: a folder, a tag such as NAME:latest, an archive, or URL@sha256:DIGEST.

    The page at / tries them out. This server is for development: one process, a connection for each request. For
    production there is `bentobatch serve-gunicorn`.
    """
    check_libraries("flask")
    from bentobatch.serving.app import create_app  # here and not above: --help must not pay for it
    from bentobatch.serving.development import DevelopmentServer

    with told(quiet=options["quiet"]) as messages:
        logging.getLogger("bentobatch.serving.access").setLevel(access_level(options))
        chosen_options = chosen(options)
        app = create_app(loaded(bento, options), serving_options=chosen_options)
        server = DevelopmentServer(app, app.extensions["bentobatch"], options["host"], options["port"])
        if not options["quiet"]:
            messages.event("info", started(bento, options["host"], server.port, chosen_options))
        server.serve()


def check_libraries(*libraries: str) -> None:
    """Raise MissingDependencyError where one that a server needs is not installed."""
    from importlib.util import find_spec

    for library in libraries:
        if find_spec(library) is None:
            raise MissingDependencyError(
                f"the online server needs the library {library}, which is not installed: "
                "pip install 'bentobatch[server]'"
            )


def loaded(bento: str, options: dict[str, Any]) -> ServiceCore:
    """The service of the bundle that BUNDLE names; its code runs, and what the policy says of it holds."""
    from bentobatch.bundle.load import load
    from bentobatch.repository.local import resolve

    folder = resolve(
        bento,
        trust=options["trust"],
        repository_url=options["repository_url"],
        trust_types=options["trust_types"],
    )
    service: ServiceCore = load(folder, allow_pickle=not options["no_pickle"])
    return service


def chosen(options: dict[str, Any], *, metrics_folder: str | None = None) -> ServingOptions:
    """What the command line says, and the variables of Vertex AI.

    Raises:
        UsageError: everybody could come in, and nobody said so; or an option makes no sense.
    """
    from bentobatch.serving.options import ServingOptions

    host, token = options["host"], options["token"]
    local = is_loopback(host)
    if token is not None and options["no_auth"]:
        raise UsageError("--no-auth and --token (or BENTOBATCH_TOKEN) contradict each other: leave one out")
    if not local and token is None and not options["no_auth"]:
        raise UsageError(
            f"--host {host} lets others in: set BENTOBATCH_TOKEN (or --token), or say --no-auth to let everybody in"
        )
    return ServingOptions(
        max_batch_size=options["mb_max_batch_size"],
        max_latency_ms=options["mb_max_latency"],
        max_queue_rows=options["max_queue_rows"],
        max_body_bytes=options["max_body_size"],
        max_inflated_bytes=options["max_inflated_size"],
        max_rows=options["max_rows"],
        timeout=options["timeout"],
        token=token,
        local=local,
        hosts=tuple(name.lower() for name in options["hosts"]),
        cors_origins=tuple(options["cors_origins"]),
        predict_route=os.environ.get("AIP_PREDICT_ROUTE"),
        health_route=os.environ.get("AIP_HEALTH_ROUTE"),
        metrics_folder=metrics_folder,
    )


def access_level(options: dict[str, Any]) -> int:
    """The level of the access log."""
    return logging.INFO if options["access_log"] else logging.WARNING


def started(bento: str, host: str, port: int, options: ServingOptions) -> str:
    """The line that says where the server is."""
    shown = f"[{host}]" if ":" in host else host
    who = "a token is asked for" if options.token is not None else "everybody who reaches it may call it"
    return f"serving {bento} at http://{shown}:{port}; {who}; Ctrl-C stops it"
