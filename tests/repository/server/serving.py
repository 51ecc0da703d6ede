"""This module runs servers for the tests: in a thread of this process, or as the program that users start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from bentobatch.bundle.manifest import read_manifest
from bentobatch.repository.packing import members_of, packed
from bentobatch.repository.server.auth import append, hashed

READ = "read-" + "r" * 40
WRITE = "write-" + "w" * 40


class Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # so that bodies may come in chunks, as they do from gunicorn

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


@contextmanager
def served(app: Callable[..., Any]) -> Iterator[str]:
    """The URL of a server for a WSGI application, in threads of this process."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def started(*words: str, first: str = "", **environ: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``bentobatch repository-server start`` on a free port: its URL, and the process. ``first``: what it runs before."""
    program = f"import sys\n{first}\nfrom bentobatch.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "repository-server", "start", "--port", "0", *words],
        env={**os.environ, **environ},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        match = re.search(r" at (https?://\S+);", line)
        assert match, line + process.stderr.read()
        yield match[1], process
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def token_file(folder: Path) -> Path:
    """A file with the tokens READ and WRITE."""
    file = folder / "tokens"
    append(file, hashed(READ, "read", "reader"))
    append(file, hashed(WRITE, "write", "writer"))
    return file


def archive_of(folder: Path) -> bytes:
    """The archive that a client sends of the bundle in ``folder``."""
    return b"".join(packed(members_of(folder, read_manifest(folder))))


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"}
