"""This module starts the services that the tests talk to, where they are installed and do not run yet, and says what is
left out. ``make test`` calls it first. In CI (the environment variable CI) nothing may be left out.

What it starts goes on after the tests; nothing of it is kept on disk but what the services' own packages keep.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

WAIT_SECONDS = 120.0
"""RabbitMQ takes more than a minute to be ready on a busy machine."""


@dataclass(frozen=True)
class Service:
    """Where a service listens, the command that starts it, and what to install where there is none."""

    name: str
    place: str
    command: Sequence[str]
    install: str

    def answers(self) -> bool:
        """Whether something listens there."""
        parts = urlsplit(self.place)
        try:
            socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=1).close()
        except OSError:
            return False
        return True

    def start(self) -> bool:
        """Start it and wait until it answers; False where it is not installed."""
        if not self.command or shutil.which(self.command[0]) is None:
            return False
        print(f"starting {self.name}: {' '.join(self.command)}", file=sys.stderr)
        subprocess.run(self.command, stdin=subprocess.DEVNULL, check=False)
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True


def services() -> list[Service]:
    """The services, at the places where the tests look for them."""
    environ = os.environ
    versions = sorted(os.path.basename(path) for path in glob.glob("/etc/postgresql/*"))
    cluster = ["pg_ctlcluster", "--skip-systemctl-redirect", versions[-1], "main", "start"] if versions else []
    redis = [
        "redis-server",
        "--daemonize",
        "yes",
        "--bind",
        "127.0.0.1",
        "--port",
        "6379",
        "--save",
        "",
        "--appendonly",
    ]
    return [
        Service(
            "Redis",
            environ.get("BENTOBATCH_TEST_REDIS", "redis://127.0.0.1:6379/11"),
            [*redis, "no", "--dir", "/tmp"],
            "redis-server",
        ),
        Service(
            "RabbitMQ",
            environ.get("BENTOBATCH_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//"),
            ["rabbitmq-server", "-detached"],
            "rabbitmq-server",
        ),
        Service(
            "PostgreSQL",
            environ.get("BENTOBATCH_TEST_POSTGRESQL", "postgresql://root@127.0.0.1:5432/test"),
            cluster,
            "postgresql",
        ),
    ]


def left_out() -> list[str]:
    """A line for each thing that is not there, after everything was started that could be."""
    lines = [
        f"{service.name} does not answer at {service.place.rpartition('@')[2]} (apt-get install -y {service.install})"
        for service in services()
        if not service.answers() and not service.start()
    ]
    home = os.environ.get("JAVA_HOME")
    if shutil.which(os.path.join(home, "bin", "java") if home else "java") is None:
        lines.append("Java is missing, which Spark needs (apt-get install -y openjdk-17-jre-headless)")
    if shutil.which("chromium") is None:
        lines.append("Chromium is missing, which the web page is tested in (apt-get install -y chromium)")
    return lines


def main() -> int:
    """Start what can be started; 1 where CI lacks something."""
    lines = left_out()
    for line in lines:
        print(f"tests left out: {line}", file=sys.stderr)
    return 1 if lines and os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
