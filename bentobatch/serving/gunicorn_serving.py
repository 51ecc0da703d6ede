"""This module serves a Flask app of bentobatch.serving under gunicorn, with workers of our own or of gunicorn's."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bentobatch.errors import BentobatchError, ModelError
from bentobatch.serving.gunicorn_preload import lost_threads, main_thread_can_compute

OWN_WORKER = "bentobatch.serving.gunicorn_worker.BentobatchWorker"

_MEMORY = "/dev/shm"  # noqa: S108 - gunicorn makes its files there by mkstemp, and unlinks them
_NO_START = (243, 244)
"""Exit codes that no model is likely to have."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GunicornOptions:
    """``bind`` is an address of gunicorn's: HOST:PORT, unix:PATH, fd://N. ``timeout``: seconds after which a call of an api
    ends its worker; 0 is never. ``graceful_timeout``: seconds for what is at work when the server is told to stop.
    ``threads`` serve what is no request to an api, or with worker class gthread everything. ``preload``: load the bundle
    once, before the workers are forked, so that they share its memory. ``ready`` is called in each worker that is about to
    serve; without ``preload`` its bundle may still be loading. ``settings``: further ones of gunicorn."""

    bind: str
    workers: int = 1
    worker_class: str = OWN_WORKER
    threads: int = 4
    timeout: int = 60
    graceful_timeout: int = 30
    keep_alive: int = 75
    connections: int = 20_000
    preload: bool = True
    log_level: str = "warning"
    max_requests: int = 0
    certificate: tuple[str, str] | None = None
    ready: Callable[[], object] = lambda: None
    settings: tuple[tuple[str, Any], ...] = ()


def once(tell: Callable[[], object]) -> Callable[[], None]:
    """Calls ``tell`` for the first of all calls, in this process or in those that are forked from it after this."""
    token, giver = os.pipe()
    os.write(giver, b"1")
    os.close(giver)

    def first() -> None:
        if os.read(token, 1):  # one process gets it, all others find the end
            tell()

    return first


def serve(make: Callable[[bool], Any], options: GunicornOptions) -> None:
    """Serve until SIGTERM, then answer what was accepted, and exit (SystemExit with gunicorn's code, 0 where all went well).

    ``make`` makes the app; its argument tells whether to load the bundle in the background, as each worker does after the
    fork without ``preload``.

    Raises:
        BentobatchError: of ``make``, with ``preload``.
        ModelError: a worker could not start.
    """
    from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]  # here and not above: --help must not pay for it

    class Master(Arbiter):  # type: ignore[misc]
        """gunicorn takes an exit with 3 or 4 for a worker that cannot start, and stops the whole server; a model may exit
        with whatever it likes."""

        WORKER_BOOT_ERROR, APP_LOAD_ERROR = _NO_START

    master = os.getpid()
    try:
        Master(_application(make, options)).run()
    except SystemExit as done:
        if done.code in _NO_START and os.getpid() == master:
            raise ModelError("a worker could not start; the lines above tell why") from done
        raise


@contextlib.contextmanager
def metrics_folder() -> Iterator[str]:
    """A folder for the counts of several workers, for as long as the server runs."""
    folder = tempfile.mkdtemp(prefix="bentobatch-metrics-")
    owner = os.getpid()
    try:
        yield folder
    finally:
        if os.getpid() == owner:  # and not a worker, which comes this way too when it ends
            shutil.rmtree(folder, ignore_errors=True)


def _settings(options: GunicornOptions) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "bind": options.bind,
        "workers": options.workers,
        "worker_class": options.worker_class,
        "threads": options.threads,
        "timeout": options.timeout,
        "graceful_timeout": options.graceful_timeout,
        "keepalive": options.keep_alive,
        "worker_connections": options.connections,
        "preload_app": options.preload,
        "loglevel": options.log_level,
        "max_requests": options.max_requests,
        "post_worker_init": lambda _: options.ready(),
        "max_requests_jitter": options.max_requests // 10,
        "backlog": 2048,
        "control_socket_disable": True,  # no listener but the one that was asked for
        "forwarded_allow_ips": "",  # nobody may say by a header who or where he is
        "limit_request_line": 8190,
        "limit_request_field_size": 8190,
        "limit_request_fields": 100,
        "proc_name": "bentobatch",
    }
    if os.access(_MEMORY, os.W_OK):
        settings["worker_tmp_dir"] = _MEMORY  # where a beat of the heart never waits for a disk
    if options.certificate is not None:
        settings |= {"certfile": options.certificate[0], "keyfile": options.certificate[1]}
    return settings | dict(options.settings)


def _application(make: Callable[[bool], Any], options: GunicornOptions) -> Any:
    from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

    class Application(BaseApplication):  # type: ignore[misc]
        """Takes its settings from here alone: no file and no variable of gunicorn's is read."""

        def load_config(self) -> None:
            known = self.cfg.settings
            for name, value in _settings(options).items():
                if name in known:  # older gunicorns have no control socket
                    self.cfg.set(name, value)

        def load(self) -> Any:
            """Called in the master with ``preload``, else in each worker."""
            app = make(not options.preload)
            if options.preload:
                prepare_for_fork(app)
            return app

        def reload(self) -> None:
            """SIGHUP: load the bundle anew, for new workers. Where that fails the old one is served on."""
            super().reload()
            if not options.preload:
                return
            try:
                self.callable = self.load()
            except BentobatchError as error:
                logger.error("the bundle was not loaded anew, the old one stays: %s", error)

    return Application()


def prepare_for_fork(app: Any) -> None:
    """Tell the workers to come what the fork will take from them."""
    if not main_thread_can_compute():
        app.extensions["bentobatch.beside"] = True
        logger.info("OpenMP was at work while the bundle was loaded: workers call its apis on threads")
    lost = lost_threads()
    if lost:
        logger.warning(
            "loading the bundle started the threads %s, which workers do not have: serve it with --no-preload",
            ", ".join(lost),
        )
