"""This module tests what deploy/ and docs/repository.md say: the commands exist, and the parts work together."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from bentobatch.bundle.verify import verify_bundle
from bentobatch.cli.main import cli
from bentobatch.repository.remote import RemoteRepository
from bentobatch.repository.server.auth import hashed
from tests.repository.making import make_bundle
from tests.repository.server.serving import WRITE, started

ROOT = Path(__file__).parents[3]


def is_a_command(words: list[str]) -> bool:
    """Whether these words after "bentobatch" are a command with options that it has."""
    group = cli.commands["repository-server"]
    command = cli.commands[words[0]] if words[0] != "repository-server" else group.commands[words[1]]  # type: ignore[attr-defined]
    with command.make_context(words[0], words[1 if command is not group.commands.get(words[1]) else 2 :]):  # type: ignore[attr-defined]
        return True


def test_the_image_starts_the_server() -> None:
    """ENTRYPOINT and CMD are a command line, and so is that of compose; every file that is copied is there."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    entry, command = (
        json.loads(re.search(rf"^{key} (\[.*\])$", text, re.MULTILINE)[1]) for key in ("ENTRYPOINT", "CMD")
    )
    assert entry == ["bentobatch", "repository-server"]
    assert is_a_command([*entry[1:], *command])
    for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split())
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    server = compose["services"]["server"]
    assert is_a_command([*entry[1:], *server["command"]])
    assert server["ports"] == ["127.0.0.1:3000:3000"]  # nothing else of it is reached from outside
    assert [name for name, service in compose["services"].items() if "ports" in service] == ["server"]
    assert (ROOT / "deploy" / server["build"]["context"] / server["build"]["dockerfile"]).is_file()
    compile(compose["services"]["bucket"]["command"][0], "bucket", "exec")


def test_the_commands_of_the_page_are_commands() -> None:
    """Each option that docs/repository.md shows is one."""
    text = (ROOT / "docs" / "repository.md").read_text(encoding="utf-8").replace("\\\n", "")
    lines = re.findall(r"^(?:\$ |    )bentobatch (.+)$", text, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        assert is_a_command(shlex.split(line, comments=True)), line
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(block, "repository.md", "exec")


@pytest.mark.usefixtures("bucket")
def test_the_server_of_compose_works_with_postgresql_and_an_s3_api(
    postgresql: str, bucket: str, tmp_path: Path
) -> None:
    """With the variables that compose sets: push, list, fetch, delete."""
    variables = {
        "BENTOBATCH_REPOSITORY_DB_URL": postgresql,
        "BENTOBATCH_SERVER_TOKENS": f"{hashed(WRITE, 'write', 'a name')};read sha256:{'0' * 64}",
    }
    words = ("--host", "0.0.0.0", "--storage-url", f"{bucket}/repository")
    with started(*words, **variables) as (url, _):
        there = RemoteRepository(url.replace("0.0.0.0", "127.0.0.1"), token=WRITE)
        entry = there.push(make_bundle(tmp_path / "b"), labels={"a": "b"})
        assert list(there.list(labels="a=b")) == [entry]
        verify_bundle(there.retrieve("Iris:1", tmp_path / "copy"), digest=entry.digest)
        there.delete("Iris:1")
        assert list(there.list()) == []
