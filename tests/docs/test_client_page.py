"""Tests of docs/client.md: its service is saved and served as it says, and its client prints what it says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.docs.pages import ROOT, check_links, words, written
from tests.serving.ways import process_way

PAGE = ROOT / "docs" / "client.md"


def test_the_client_page_does_what_it_says(tmp_path: Path) -> None:
    """In an empty folder; the server takes a port that is free, and the client's file is told of it."""
    save, serve, ask = written(PAGE, tmp_path)
    assert run(tmp_path, save[0]) == save[1]
    command = [part if part != "5000" else "0" for part in words(serve[0])]
    command[command.index("flowers")] = str(tmp_path / "flowers")
    with process_way("serve-gunicorn", command, r"http://127\.0\.0\.1:(\d+)") as way:
        script = tmp_path / "ask.py"
        script.write_text(script.read_text().replace("127.0.0.1:5000", f"127.0.0.1:{way.port}"))
        assert run(tmp_path, ask[0]) == ask[1]


def test_the_links_of_the_client_page_lead_somewhere() -> None:
    """To files, or to https."""
    check_links(PAGE)


def run(folder: Path, command: str) -> list[str]:
    """The lines that a command prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    done = subprocess.run(words(command), cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
