"""Tests of docs/serving.md: its service is saved and served as it says, and answers what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from bentobatch.cli.main import cli
from bentobatch.serving.options import ServingOptions
from tests.docs.pages import ROOT, check_links, words, written
from tests.serving.ways import Way, http_request, process_way

PAGE = ROOT / "docs" / "serving.md"
_ESCAPED = re.compile(r"\$'((?:[^'\\]|\\.)*)'")


def test_the_serving_page_does_what_it_says(tmp_path: Path) -> None:
    """In an empty folder; the server takes a port that is free."""
    (save, printed), (serve, _), *asked = written(PAGE, tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    done = subprocess.run(words(save), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout.splitlines()) == (0, printed), done.stderr
    command = [part.replace("5000", "0").replace("penguins", str(tmp_path / "penguins")) for part in words(serve)]
    assert len(asked) > 5
    with process_way("serve", command, r"http://127\.0\.0\.1:(\d+)") as way:
        for line, expected in asked:
            assert curl(way, line) == expected, line


def curl(way: Way, line: str) -> list[str]:
    """The lines that curl would show, for the few of its options that the page has; not every machine has curl."""
    line = _ESCAPED.sub(lambda found: shlex.quote(found[1].encode().decode("unicode_escape")), line)
    program, url, *rest = shlex.split(line)
    assert program == "curl"
    headers: dict[str, str] = {}
    body: bytes | None = None
    for option, value in zip(rest[::2], rest[1::2], strict=True):
        if option == "-H":
            name, _, text = value.partition(": ")
            headers[name] = text
        else:
            assert option == "-d"
            body = value.encode()
    parts = urlsplit(url)
    assert parts.netloc == "127.0.0.1:5000"
    answer = http_request(way.port, "GET" if body is None else "POST", parts.path, headers, body or b"")
    return answer.body.decode().splitlines()


def test_the_links_and_options_of_the_serving_page_exist() -> None:
    """Links lead to files; options are those of the two commands; fields those of ServingOptions."""
    check_links(PAGE)
    text = PAGE.read_text(encoding="utf-8")
    commands = (cli.commands["serve"], cli.commands["serve-gunicorn"])
    known = {flag for each in commands for param in each.params for flag in (*param.opts, *param.secondary_opts)}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known
    assert "token" in ServingOptions.__dataclass_fields__
