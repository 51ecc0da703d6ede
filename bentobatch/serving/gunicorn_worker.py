"""This module is the class of gunicorn's workers in production: an event loop that takes requests straight to the apis.

``gunicorn -k bentobatch.serving.gunicorn_worker.BentobatchWorker`` serves any WSGI application; the short way is taken
where that is an app of bentobatch.serving. See docs/serving.md for what the settings of gunicorn mean here.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import resource
import signal
import sys
from typing import Any

from gunicorn import sock as gunicorn_sock  # type: ignore[import-untyped]
from gunicorn.workers.base import Worker  # type: ignore[import-untyped]

from bentobatch.serving.http1_exchange import HttpLimits
from bentobatch.serving.http1_server import HttpServer
from bentobatch.serving.http1_wsgi import WsgiThreads
from bentobatch.serving.site import Site
from bentobatch.serving.worker_front import ApiFront

_BEAT = 1.0
_MOST_DESCRIPTORS = 1 << 16
_SPARE_DESCRIPTORS = 64


class BentobatchWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """A worker of gunicorn. It shows the master that it lives once a second, also while an api's call takes its time on
    a thread; a call that takes longer than gunicorn's ``timeout`` ends the worker, and the master starts another."""

    loop: asyncio.AbstractEventLoop
    server: HttpServer
    front: ApiFront

    def init_process(self) -> None:
        """Called in the new process, after the fork."""
        raise_descriptor_limit()
        self.loop = _new_loop()
        asyncio.set_event_loop(self.loop)
        self._stopping = asyncio.Event()
        self._quick = False
        self._frozen = False
        super().init_process()

    def init_signals(self) -> None:
        """The loop sees to the signals, between two callbacks."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self.loop.add_signal_handler(signal.SIGTERM, self._stop)
        self.loop.add_signal_handler(signal.SIGQUIT, self._stop_now)
        self.loop.add_signal_handler(signal.SIGINT, self._stop_now)
        self.loop.add_signal_handler(signal.SIGUSR1, self.log.reopen_files)
        self.loop.add_signal_handler(signal.SIGWINCH, lambda: None)
        signal.signal(signal.SIGABRT, self._abort)  # at once: the master sends it when the loop stands still

    def _stop(self) -> None:
        self.alive = False
        self._stopping.set()

    def _stop_now(self) -> None:
        self._quick = True
        self.cfg.worker_int(self)
        self._stop()

    def _abort(self, *_: Any) -> None:
        self.cfg.worker_abort(self)
        _leave(1)  # not by SystemExit: a thread that hangs would be waited for

    def run(self) -> None:
        """Serve until told to stop."""
        self.loop.run_until_complete(self._serve())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        if self.front.busy:
            self.log.warning("the grace is over; what is still at work is given up (pid: %s)", self.pid)
            self.tmp.close()
            _leave(0)

    async def _serve(self) -> None:
        site = site_of(self.wsgi)
        threads = WsgiThreads(
            self.wsgi, threads=max(2, self.cfg.threads), https=self.cfg.is_ssl, more_processes=self.cfg.workers > 1
        )
        self.front = ApiFront(site, threads, inline=not _beside(self.wsgi))
        limits = limits_of(self.cfg, site)
        tls = gunicorn_sock.ssl_context(self.cfg) if self.cfg.is_ssl else None
        self.server = HttpServer(self.front, limits, tls=tls)
        self.server.listen([listener.sock for listener in self.sockets])
        self._beat()
        await self._stopping.wait()
        if site is not None:
            site.drain()
        if not self._quick:
            await self._drain()

    async def _drain(self) -> None:
        grace = max(0.5, self.cfg.graceful_timeout - 0.5)

        async def end() -> None:
            await self.server.drain(last_call=min(1.0, grace / 4))
            await self.front.close()

        ending = asyncio.ensure_future(end())
        hurry = asyncio.ensure_future(self._hurry())
        await asyncio.wait((ending, hurry), timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        for task in (ending, hurry):
            task.cancel()

    async def _hurry(self) -> None:
        """Returns when a SIGINT or SIGQUIT has come after the SIGTERM."""
        while not self._quick:
            await asyncio.sleep(0.1)

    def _beat(self) -> None:
        self.notify()
        self.server.watch()
        if not self._frozen and (site := site_of(self.wsgi)) is not None and site.is_loaded:
            self._frozen = True
            gc.freeze()  # modules and models stay: to look through them for garbage would hold up the requests
        if self.timeout and (names := self.front.stuck(self.cfg.timeout)):
            self.log.critical(
                "api %s has not returned for %s seconds: the worker ends (pid: %s)",
                names[0],
                self.cfg.timeout,
                self.pid,
            )
            self._abort()
        if self.alive and (self.front.requests >= self.max_requests or os.getppid() != self.ppid):
            self.log.info("worker stops: %s requests, parent %s (pid: %s)", self.front.requests, self.ppid, self.pid)
            self._stop()
        self.loop.call_later(min(_BEAT, (self.timeout or 60) / 2), self._beat)


def site_of(app: Any) -> Site | None:
    """The site of a Flask app that ``bentobatch.serving`` made; None for any other app."""
    found = getattr(app, "extensions", {}).get("bentobatch")
    return found if isinstance(found, Site) else None


def _beside(app: Any) -> bool:
    """Whether calls may not be made in the main thread; see gunicorn_preload.py."""
    return bool(getattr(app, "extensions", {}).get("bentobatch.beside"))


def limits_of(cfg: Any, site: Site | None) -> HttpLimits:
    """The limits, by gunicorn's settings and the service's options."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    body = HttpLimits.body_bytes if site is None else site.options.max_body_bytes
    return HttpLimits(
        body_bytes=body,
        all_body_bytes=max(HttpLimits.all_body_bytes, 4 * body),
        head_fields=cfg.limit_request_fields,
        target_bytes=cfg.limit_request_line or HttpLimits.target_bytes,
        idle_seconds=cfg.keepalive,
        connections=max(16, min(cfg.worker_connections, soft - _SPARE_DESCRIPTORS)),
    )


def raise_descriptor_limit() -> None:
    """Let this process have as many connections as the machine allows: the soft limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _leave(code: int) -> None:
    """End this process without waiting for its threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
