"""This module tests servers as processes: how they start, several on one database, and kill -9 in the middle of a push."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from bentobatch.bundle.verify import verify_bundle
from bentobatch.cli.main import main
from bentobatch.errors import BentobatchError, NoInputError, UnavailableError
from bentobatch.repository.check import check, gc
from bentobatch.repository.local import LocalRepository
from bentobatch.repository.remote import RemoteRepository
from bentobatch.repository.server.app import create_app
from tests.repository.making import make_bundle
from tests.repository.server import processes
from tests.repository.server.serving import READ, WRITE, served, started, token_file

CLIENTS = 8


@pytest.fixture(scope="module")
def start() -> Callable[..., BaseProcess]:
    """Starts a function of processes.py in a process of its own, which has what it needs imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.repository.server.processes"])

    def start_it(function: Callable[..., None], *arguments: object) -> BaseProcess:
        process = context.Process(target=function, args=(dict(os.environ), *arguments))
        process.start()
        return process

    return start_it


def test_the_program_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """By gunicorn, with the pages; SIGTERM ends it with exit code 0."""
    with started("--token-file", str(token_file(tmp_path)), "--storage-url", str(tmp_path / "shared")) as (
        url,
        process,
    ):
        there = RemoteRepository(url, token=WRITE)
        entry = there.push(make_bundle(tmp_path / "b", model=os.urandom(3 << 20)))
        assert [entry] == list(RemoteRepository(url, token=READ).list())
        verify_bundle(there.retrieve("Iris:1", tmp_path / "copy"), digest=entry.digest)
        with urlopen(f"{url}/healthz") as answer:
            assert (answer.read(), answer.headers["X-Content-Type-Options"]) == (b'{"status":"ok"}', "nosniff")
        with urlopen(f"{url}/sign-in") as answer:
            assert b'name="token"' in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("words", "environ", "code", "said"),
    [
        (["--host", "0.0.0.0"], {}, 2, "it needs tokens"),
        (["--host", "::"], {}, 2, "it needs tokens"),
        (["--host", "::ffff:0.0.0.0"], {}, 2, "it needs tokens"),
        (["--host", "0.0.0.0"], {"BENTOBATCH_SERVER_TOKENS": ""}, 2, "there is no token"),
        (["--host", "127.0.0.1"], {"BENTOBATCH_SERVER_TOKENS": "# none"}, 2, "there is no token"),
        ([], {"BENTOBATCH_SERVER_TOKENS": "write my-secret"}, 2, "no hashed token"),
        (["--token-file", "/nonexistent"], {}, 2, "cannot be read"),
        (["--public-url", "https://host/path?x"], {}, 2, "no address of a server"),
        ([], {"BENTOBATCH_SERVER_SECRET": "short"}, 2, "secret is too short"),
        (["--db-url", "postgresql://x:secret@127.0.0.1:1/x"], {}, 69, "does not answer"),
        (["--host", "192.0.2.1"], {"BENTOBATCH_SERVER_TOKENS": "read sha256:" + "a" * 64}, 69, "cannot listen"),
        (["--storage-url", "memory://x"], {}, 2, "give --db-url"),
    ],
)
def test_a_server_that_would_not_be_safe_or_cannot_work_does_not_start(
    words: list[str], environ: dict[str, str], code: int, said: str, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """One line says why, without a secret in it."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main(["repository-server", "start", "--port", "0", *words]) == code
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert "my-secret" not in err
    assert ":secret" not in err


def test_a_port_that_is_taken_is_told_in_one_line(url: str, capfd) -> None:
    """Exit 69: it may be free later."""
    assert main(["repository-server", "start", "--port", url.rpartition(":")[2]]) == 69
    assert "choose another --port" in capfd.readouterr().err


def test_without_flask_or_gunicorn_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """There is no server for developers to fall back on."""
    import importlib.util

    plain = importlib.util.find_spec
    monkeypatch.setattr(
        "bentobatch.repository.server.running.find_spec", lambda name: None if name == "gunicorn" else plain(name)
    )
    assert main(["repository-server", "start"]) == 2
    assert "pip install 'bentobatch[repository,server]'" in capfd.readouterr().err


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    """kill -9 of the process that answers: the next request is answered."""
    with started("--storage-url", str(tmp_path / "shared")) as (url, process):
        there = RemoteRepository(url)
        there.push(make_bundle(tmp_path / "b"))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("only Linux tells a process's children")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        for _ in range(100):
            try:
                assert [str(entry.tag) for entry in there.list()] == ["Iris:1"]
                break
            except UnavailableError:
                time.sleep(0.1)
        else:
            pytest.fail("no new worker came")


def test_silent_clients_do_not_hold_the_server(tmp_path: Path) -> None:
    """In the middle of a header or of a body: they are given up, and others get their turn."""
    silent = "import bentobatch.repository.server.running as running\nrunning._SILENCE = 1"
    with started("--threads", "1", "--storage-url", str(tmp_path / "shared"), first=silent) as (url, _):
        place = urlsplit(url)
        begun = (
            b"GET / HT",
            b"PUT /api/v1/bundles/Iris/1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/gzip\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
        )
        clients = [socket.create_connection((place.hostname, place.port)) for _ in begun]
        for client, data in zip(clients, begun, strict=True):
            client.sendall(data)
        with urlopen(f"{url}/healthz", timeout=60) as answer:
            assert answer.status == 200
        for client in clients:
            client.close()
        assert list(RemoteRepository(url).list()) == []


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_of_eight_clients_of_two_servers_that_push_one_tag_one_wins(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two servers on one database and one storage: another bundle is a conflict, the same one a no-op."""
    db = f"sqlite:///{tmp_path}/catalog.db" if database == "sqlite" else request.getfixturevalue("postgresql")
    words = ("--db-url", db, "--storage-url", str(tmp_path / "shared"))
    others = [make_bundle(tmp_path / f"o{number}", "Iris:1", model=b"x%d" % number) for number in range(CLIENTS)]
    same = [make_bundle(tmp_path / f"s{number}", "Iris:2") for number in range(CLIENTS)]
    with ExitStack() as stack:
        urls = [stack.enter_context(started(*words))[0] for _ in range(2)]

        def push(number: int, bundle: Path) -> str:
            try:
                return RemoteRepository(urls[number % 2]).push(bundle).digest
            except BentobatchError as error:
                return type(error).__name__

        with ThreadPoolExecutor(CLIENTS) as pool:
            of_others = list(pool.map(push, range(CLIENTS), others))
            of_same = list(pool.map(push, range(CLIENTS), same))
        listed = [RemoteRepository(url).list() for url in urls]
        RemoteRepository(urls[0]).delete("Iris:2")
        with pytest.raises(NoInputError):
            RemoteRepository(urls[1]).get("Iris:2")
    repository = LocalRepository(tmp_path / "shared", db_url=db)
    (entry,) = repository.list()
    assert sorted(of_others) == sorted([entry.digest] + ["ConflictError"] * (CLIENTS - 1))
    assert len(set(of_same)) == 1
    assert [str(one.tag) for one in listed[0]] == [str(one.tag) for one in listed[1]]
    assert len(listed[0]) == 2
    assert list(check(repository, read_data=True)) == []
    verify_bundle(repository.find("Iris:1"), digest=entry.digest)
    repository.close()


def is_sound(folder: Path, scratch: Path) -> bool:
    """Whether the tag is there: it is absent or whole, what is left over belongs to nobody, and gc clears it up."""
    repository = LocalRepository(folder)
    there = [str(entry.tag) for entry in repository.list()]
    assert there in ([], ["Iris:1"])
    assert {problem.kind for problem in check(repository, read_data=True)} <= {"leftover"}
    if there:
        verify_bundle(repository.retrieve("Iris:1", scratch))
    list(gc(repository, min_age=0))
    assert list(check(repository, read_data=True)) == []
    repository.close()
    return bool(there)


def test_a_server_killed_at_any_instant_of_a_push_leaves_the_tag_absent_or_whole(
    start: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    """The client learns that it may try again, and the next server takes it."""
    bundle = make_bundle(tmp_path / "b")
    seen = []
    for instant in range(1, 500, 5):
        folder, said = tmp_path / f"at{instant}", tmp_path / f"said{instant}"
        process = start(processes.serve_until, instant, str(folder), str(said))
        while not said.exists():
            assert process.is_alive()
            time.sleep(0.02)
        there = RemoteRepository(f"http://127.0.0.1:{said.read_text()}")
        try:
            there.push(bundle)
            finished = True
        except UnavailableError:
            finished = False
        if finished:
            process.kill()
        process.join()
        seen.append(is_sound(folder, tmp_path / f"copy{instant}"))
        if finished:
            break
        with served(create_app(LocalRepository(folder))) as url:
            RemoteRepository(url).push(bundle)
            verify_bundle(RemoteRepository(url).retrieve("Iris:1", tmp_path / f"again{instant}"))
    assert finished, "a push has more instants than the test"
    assert len(seen) > 10
    assert set(seen) == {True, False}


def test_a_client_killed_at_any_instant_of_a_push_leaves_the_tag_absent_or_whole(
    start: Callable[..., BaseProcess], stored: LocalRepository, tmp_path: Path
) -> None:
    """After each piece that it sends. The server removes what has come, without being asked."""
    bundle = make_bundle(tmp_path / "b", model=os.urandom(1 << 20))
    seen = []
    with served(create_app(stored)) as url:
        for instant in range(1, 100):
            process = start(processes.push_until, instant, url, str(bundle))
            process.join()
            assert process.exitcode in (0, -9)
            deadline = time.monotonic() + 60
            while any(path.name.startswith(".bentobatch-") for path in stored.folder.glob(".b*")):
                assert time.monotonic() < deadline, "the server keeps what nobody will finish"
                time.sleep(0.02)
            seen.append(is_sound(stored.folder, tmp_path / f"copy{instant}"))
            if seen[-1]:
                stored.delete("Iris:1")
            if process.exitcode == 0:
                break
    assert process.exitcode == 0, "a push has more pieces than the test"
    assert len(seen) > 10
    assert seen[0] is False
    assert seen[-1] is True


def test_servers_have_no_other_listener_and_show_no_token(tmp_path: Path) -> None:
    """S03, S10, S23: one socket, on loopback; nothing secret in the command line or in what it says."""
    with started("--token-file", str(token_file(tmp_path))) as (url, process):
        list(RemoteRepository(url, token=WRITE).list())
        tree = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        listening = {
            (int(words[1].split(":")[0], 16), int(words[1].split(":")[1], 16))
            for line in Path(f"/proc/{process.pid}/net/tcp").read_text().splitlines()[1:]
            for words in [line.split()]
            if words[3] == "0A" and words[9] in inodes(process.pid)
        }
        process.terminate()
        process.wait()
        assert process.stderr is not None
        said = process.stderr.read()
    assert listening == {(0x0100007F, int(url.rpartition(":")[2]))}
    for text in (tree, said):
        assert WRITE not in text
        assert READ not in text


def inodes(pid: int) -> set[str]:
    """Those of the sockets that a process and its children have open."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    links = [os.readlink(path) for one in (pid, *children) for path in Path(f"/proc/{one}/fd").iterdir()]
    return {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:")}
