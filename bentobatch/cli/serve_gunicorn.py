"""This module is ``bentobatch serve-gunicorn``, which puts a bundle behind a URL in production."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from bentobatch.cli.repository_options import told
from bentobatch.cli.serve import access_level, check_libraries, chosen, loaded, serving_options, started
from bentobatch.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from bentobatch.serving.gunicorn_serving import GunicornOptions

_CLASSES = ("own", "gthread")
_BACKLOG = 2048


@click.command("serve-gunicorn", short_help="Put a bundle behind a URL, in production.")
@click.argument("bento", metavar="BUNDLE")
@click.option(
    "--workers",
    "-w",
    type=click.IntRange(1, 512),
    default=1,
    show_default=True,
    envvar=["BENTOBATCH_GUNICORN_WORKERS", "BENTOBATCH_WORKERS"],
    help="Processes that serve. Each joins requests by itself, so that more of them make smaller batches: for a costly "
    "model one is best.",
)
@click.option(
    "--worker-class",
    type=click.Choice(_CLASSES),
    default="own",
    show_default=True,
    help="own: an event loop that takes requests straight to the apis. gthread: gunicorn's own, a thread for each request.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="For the pages and the metrics; with gthread for all requests.  [default: 4; with gthread 64]",
)
@click.option(
    "--graceful-timeout",
    type=click.IntRange(1, 3600),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="For the requests that are under way when the server is told to stop (SIGTERM).",
)
@click.option(
    "--keep-alive",
    type=click.IntRange(1, 3600),
    default=75,
    show_default=True,
    metavar="SECONDS",
    help="How long a connection may lie idle; longer than a load balancer before the server keeps it.",
)
@click.option(
    "--max-connections", type=click.IntRange(16), default=20_000, show_default=True, metavar="N", help="Of each worker."
)
@click.option(
    "--max-requests",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Replace a worker after about so many requests, against leaks of the model.  [default: never]",
)
@click.option(
    "--preload/--no-preload",
    default=True,
    envvar="BENTOBATCH_PRELOAD",
    help="Load the bundle once, before the workers are forked, and share its memory; or in each worker, for models that do "
    "not outlive a fork (CUDA, threads of their own).  [default: once]",
)
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Serve https.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="The certificate's key.")
@serving_options
def serve_gunicorn_command(bento: str, **options: Any) -> None:
    """Serve the apis of BUNDLE over HTTP: a folder, a tag such as NAME:latest, an archive, or URL@sha256:DIGEST.

    gunicorn starts the workers, and replaces those that die. A call of an api that takes longer than --timeout ends its
    worker. SIGTERM ends the server after what it has accepted is answered; SIGHUP loads the bundle anew.
    """
    check_libraries("flask", "gunicorn", *(("httptools",) if options["worker_class"] == "own" else ()))
    from bentobatch.serving.app import create_app  # here and not above: --help must not pay for it
    from bentobatch.serving.exchange import ServedService
    from bentobatch.serving.gunicorn_serving import metrics_folder, once, serve
    from bentobatch.serving.site import Site

    if (options["tls_cert"] is None) != (options["tls_key"] is None):
        raise UsageError("--tls-cert and --tls-key go together")
    if options["tls_cert"] is not None:
        check_certificate(options["tls_cert"], options["tls_key"])
    with told(quiet=options["quiet"]) as messages, metrics_folder() as folder:
        logging.getLogger("bentobatch.serving.access").setLevel(access_level(options))
        chosen_options = chosen(options, metrics_folder=folder)

        listener = listening(options["host"], options["port"])
        url = started(bento, options["host"], listener.getsockname()[1], chosen_options)
        if options["tls_cert"] is not None:
            url = url.replace("http://", "https://", 1)
        tell = once(lambda: None if options["quiet"] else messages.event("info", url))

        def make(in_background: bool) -> Any:
            def load() -> ServedService:
                return ServedService(loaded(bento, options), chosen_options)

            loaded_in_worker = tell if in_background else lambda: None
            return create_app(Site(load, chosen_options, in_background=in_background, loaded=loaded_in_worker))

        ready = tell if options["preload"] else lambda: None
        serve(make, _gunicorn_options(options, listener.detach(), ready))


def _gunicorn_options(options: dict[str, Any], descriptor: int, ready: Callable[[], object]) -> GunicornOptions:
    from bentobatch.serving.gunicorn_serving import OWN_WORKER, GunicornOptions

    own = options["worker_class"] == "own"
    return GunicornOptions(
        bind=f"fd://{descriptor}",
        worker_class=OWN_WORKER if own else "gthread",
        workers=options["workers"],
        threads=options["threads"] or (4 if own else 64),
        timeout=math.ceil(options["timeout"]),
        graceful_timeout=options["graceful_timeout"],
        keep_alive=options["keep_alive"],
        connections=options["max_connections"],
        preload=options["preload"],
        max_requests=options["max_requests"],
        certificate=None if options["tls_cert"] is None else (options["tls_cert"], options["tls_key"]),
        ready=ready,
    )


def check_certificate(certificate: str, key: str) -> None:
    """Raise UsageError where workers could not use it: they would die, and others be started, for ever."""
    import ssl  # here and not above: --help must not pay for it

    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise UsageError(f"--tls-cert {certificate} and --tls-key {key} cannot be used: {error}") from error


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is one that is free.

    Raises:
        UnavailableError, UsageError: it is taken, or no address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise UsageError(f"{host!r} is no address of this machine: {error.strerror}") from error
    except OSError as error:
        raise UnavailableError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
