"""This module lists the online servers that are compared, and makes an environment of its own for each that is not ours."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bentobench.measure import memory_of
from bentobench.peer_list import NotInstalled, versions_in

ONLINE = Path(__file__).resolve().parents[1] / "online"
CHECKOUT = ONLINE.parents[2]
SAME = ("scikit-learn", "numpy", "joblib")
"""Libraries that a server gets in our versions, so that the models load and the comparison is of servers."""
GRACE = 15.0


@dataclass(frozen=True)
class Server:
    """``command`` has {python}, {port}, {bundle} and {online} in it, and runs in the folder online. ``environment`` is a
    list in online/requirements, empty for ours. ``package`` names the version that is told. ``boxed``: a request is
    {"rows": [...]}, not the rows themselves."""

    name: str
    command: tuple[str, ...]
    environment: str = ""
    package: str = "bentobatch"
    boxed: bool = False
    variables: dict[str, str] = field(default_factory=dict)

    def body(self, rows: Sequence[Sequence[float]]) -> bytes:
        """A request."""
        return json.dumps({"rows": rows} if self.boxed else rows).encode()


OURS = ("{python}", "-m", "bentobatch", "serve-gunicorn", "{bundle}", "--port", "{port}")
SERVERS = (
    Server("bentobatch", OURS),
    Server("bentobatch, gthread", (*OURS, "--worker-class", "gthread", "--workers", "2")),
    Server(
        "Flask + gunicorn gthread 2×16",
        tuple("{python} -m gunicorn bare_flask:app -b 127.0.0.1:{port} -k gthread -w 2 --threads 16".split()),  # noqa: SIM905
        "flask",
        "flask",
    ),
    Server(
        "FastAPI + uvicorn, 2 processes",
        tuple("{python} -m uvicorn fastapi_app:app --port {port} --workers 2 --no-access-log".split()),  # noqa: SIM905
        "fastapi",
        "fastapi",
    ),
    Server(
        "BentoML 1.4, 2 workers",
        tuple("{python} -m bentoml serve bentoml_service:Served --host 127.0.0.1 --port {port}".split()),  # noqa: SIM905
        "bentoml",
        "bentoml",
        boxed=True,
        variables={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Server("LitServe, 2 workers", ("{python}", "litserve_server.py"), "litserve", "litserve", boxed=True),
)
MINE = SERVERS[0].name, SERVERS[1].name
FLASK, FASTAPI, BENTOML, LITSERVE = (server.name for server in SERVERS[2:])


def environment(server: Server, tell: Callable[[str], None] = print) -> Path:
    """The interpreter of a server's environment, .venv-online-NAME, made where it is not there or its list has changed.

    Raises:
        NotInstalled: it cannot be; says why.
    """
    if not server.environment:
        return Path(sys.executable)
    wanted = ONLINE / "requirements" / f"{server.environment}.txt"
    same = [f"{name}=={version(name)}" for name in SAME]
    recipe = hashlib.sha256(wanted.read_bytes() + " ".join(same).encode()).hexdigest()
    home = CHECKOUT / f".venv-online-{server.environment}"
    python, ready = home / "bin" / "python", home / "ready"
    if ready.exists() and ready.read_text() == recipe:
        return python
    tell(f"installing {server.package} into {home.name} ...")
    uv = shutil.which("uv")
    if uv:
        _do([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)])
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    else:
        _do([sys.executable, "-m", "venv", "--clear", str(home)])
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _do([*install, "--requirement", str(wanted), *same, "setuptools"])
    ready.write_text(recipe)
    return python


def versions_of(server: Server, python: Path) -> dict[str, str]:
    """The version of the server's package."""
    return {} if not server.environment else versions_in(python, (server.package,))


def _do(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise NotInstalled(f"{Path(command[0]).name} {command[1]} …: {lines[-1][:300]}")


@dataclass
class Running:
    """A server's process tree."""

    process: psutil.Popen
    port: int

    def tree(self) -> list[psutil.Process]:
        """The process and its descendants."""
        try:
            return [self.process, *self.process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_seconds(self) -> float:
        """User and system time of all of them, and of their children that have ended."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory_mb(self) -> float:
        """PSS of all of them, in 1e6 bytes."""
        return sum(map(memory_of, self.tree())) / 1e6


@contextlib.contextmanager
def running(server: Server, python: Path, port: int, work: Any, log: Path) -> Iterator[Running]:
    """Start a server and end all of it afterwards, whatever it does. It may not be ready yet."""
    words = {"python": str(python), "port": str(port), "bundle": str(work.bundle), "online": str(ONLINE)}
    kept = {key: text for key, text in os.environ.items() if not key.startswith(("BENTOBATCH_", "AIP_", "PYTHON"))}
    path = os.pathsep.join(filter(None, [str(CHECKOUT) if not server.environment else "", str(ONLINE)]))
    variables = {"MODEL": str(work.model), "PORT": str(port), "PYTHONPATH": path, **server.variables}
    with log.open("wb") as sink:
        process = psutil.Popen(
            [word.format(**words) for word in server.command],
            cwd=ONLINE,
            env={**kept, **variables},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started = Running(process, port)
        try:
            yield started
        finally:
            _end(started)


def _end(started: Running) -> None:
    tree = started.tree()
    with contextlib.suppress(psutil.NoSuchProcess):
        started.process.terminate()
    _, left = psutil.wait_procs(tree, timeout=GRACE)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=GRACE)
