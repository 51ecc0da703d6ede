"""This module tests the image of a bundle by taking its Dockerfile's steps here, and by what a container then does."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bentobatch.bundle import image
from tests.bundle.dockerfiles import PYTHON, doubler, instructions, words

TOKEN = "a-token-that-is-long-enough"


class Made(NamedTuple):
    """An environment that the steps of a bundle's Dockerfile made, its variables, and the bundle where the image has it."""

    bundle: Path
    variables: dict[str, str]
    output: str

    def run(self, *arguments: str, ok: int = 0, **variables: str) -> str:
        """What a container of the image does with these arguments: its stdout, or stderr where it must fail."""
        entrypoint = words(dict(instructions((self.bundle / "Dockerfile").read_text()))["ENTRYPOINT"])
        command = [word.replace(image.BUNDLE, str(self.bundle)) for word in entrypoint or []]
        done = subprocess.run(
            [*command, *arguments], cwd=self.bundle, env={**self.variables, **variables}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == ok, done.stderr
        return done.stdout if ok == 0 else done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The instructions ENV, COPY and RUN of the bundle's Dockerfile, taken one by one with folders of ours in the place of
    the image's. The libraries of this Python stand for those that pip would fetch."""
    folder = tmp_path_factory.mktemp("image")
    source, root = doubler(folder), folder / "root"
    places = {"/opt/bentobatch": root / "opt", "/tmp": root / "tmp"}
    for name in ("bundle", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    variables = {"PATH": os.environ["PATH"], "BENTOBATCH_ETC": str(root / "etc")}
    output = ""
    for name, text in instructions((source / "Dockerfile").read_text()):
        if name == "ARG":
            key, _, value = text.partition("=")
            variables[key] = value.strip('"')
            if key == "EXTRA_PIP_INSTALL_ARGS":  # --build-arg EXTRA_PIP_INSTALL_ARGS=…
                variables[key] = "--no-index --no-deps"
        elif name == "ENV":
            for key, value in re.findall(r'(\w+)="([^"]*)"', text):
                moved = re.sub("|".join(places), lambda match: str(places[match[0]]), value)
                variables[key] = moved.replace("$PATH", variables["PATH"])
        elif name == "COPY":
            *copied, target = words(text.rpartition("} ")[2] if text.startswith("--chown") else text) or []
            _copy(source, copied, root / target.lstrip("/"))
        elif name == "RUN":
            output += _run(text, root / "bundle", variables)
    site = root / "opt" / "lib" / f"python{PYTHON}" / "site-packages"
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Made(root / "bundle", {name: variables[name] for name in variables if name not in ("UID", "GID")}, output)


def _copy(source: Path, copied: list[str], target: Path) -> None:
    for name in copied:
        if (source / name).is_dir():
            shutil.copytree(source / name, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / name, target / name)


def _run(text: str, folder: Path, variables: dict[str, str]) -> str:
    """One step. sh cannot be given a variable UID or GID by all shells, and a container has them as build arguments."""
    command = words(text) or ["sh", "-c", text.replace('"$UID"', variables["UID"]).replace('"$GID"', variables["GID"])]
    env = {name: value for name, value in variables.items() if name not in ("UID", "GID")}
    done = subprocess.run(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_steps_make_an_environment_with_bentobatch_and_a_user(made: Made) -> None:
    """setup.sh ran, the wheel that the bundle carries is installed, and the server's user is in the lists."""
    assert (made.bundle / "made_by_setup").read_text() == "made\n"
    site = Path(made.variables["BENTOBATCH_ENVIRONMENT"], "lib", f"python{PYTHON}", "site-packages")
    assert [path.name for path in site.glob("bentobatch-*+b*.dist-info")]
    assert (site / "bentobatch" / "py.typed").is_file()
    etc = Path(made.variables["BENTOBATCH_ETC"])
    assert (etc / "passwd").read_text().endswith("bentobatch:x:1034:1034:bentobatch:/tmp:/bin/sh\n")
    assert (etc / "group").read_text().endswith("bentobatch:x:1034:\n")


def test_a_container_scores_and_tells_of_its_bundle(made: Made) -> None:
    """`docker run IMAGE run predict …` and `docker run IMAGE info`."""
    assert made.run("run", "predict", "--input", "21", "--quiet") == '{"prediction":42}\n'
    assert '"service_name": "Doubler"' in made.run("info")
    assert made.run("echo", "any other command") == "any other command\n"


def test_a_server_that_others_reach_needs_a_token_or_a_word_that_it_does_not(made: Made) -> None:
    """Nothing listens before that is settled."""
    assert "BENTOBATCH_TOKEN" in made.run(ok=2)
    assert "BENTOBATCH_TOKEN" in made.run("--workers", "2", ok=2)
    assert "BENTOBATCH_TOKEN" in made.run("serve", ok=2)


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        ([], {"BENTOBATCH_TOKEN": "t"}, "serve-gunicorn BUNDLE --host 0.0.0.0 --port 5000"),
        (["--workers", "2"], {"BENTOBATCH_TOKEN": "t", "PORT": "81"},
         "serve-gunicorn BUNDLE --host 0.0.0.0 --port 81 --workers 2"),
        (["serve-gunicorn", "-w", "2"], {"BENTOBATCH_NO_AUTH": "1", "PORT": "81", "BENTOBATCH_PORT": "82"},
         "serve-gunicorn BUNDLE --host 0.0.0.0 --port 82 --no-auth -w 2"),
        (["serve"], {"BENTOBATCH_NO_AUTH": "1"}, "serve-gunicorn BUNDLE --host 0.0.0.0 --port 8080 --no-auth"),
        (["serve"], {"BENTOBATCH_TOKEN": "t", "SAGEMAKER_BIND_TO_PORT": "83"},
         "serve-gunicorn BUNDLE --host 0.0.0.0 --port 83"),
        ([], {"BENTOBATCH_NO_AUTH": "1", "AIP_HTTP_PORT": "84"},
         "serve-gunicorn BUNDLE --host 0.0.0.0 --port 84 --no-auth"),
        (["open-api-spec"], {}, "open-api-spec BUNDLE"),
    ],
)  # fmt: skip
def test_the_entry_point_makes_the_command_of_arguments_and_variables(
    made: Made, arguments: list[str], variables: dict[str, str], expected: str, tmp_path: Path
) -> None:
    """Options alone are the server's; SageMaker says `serve`, Vertex AI sets AIP_HTTP_PORT. A `bentobatch` that prints what
    it is given stands first on the PATH."""
    (tmp_path / "bentobatch").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "bentobatch").chmod(0o755)
    out = made.run(*arguments, PATH=f"{tmp_path}:{made.variables['PATH']}", **variables)
    assert out.strip() == expected.replace("BUNDLE", str(made.bundle))


@pytest.fixture(scope="module")
def served(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a container that was started as SageMaker does, with one of our choice and a token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("served") / "log"
    variables = {**made.variables, "SAGEMAKER_BIND_TO_PORT": str(port), "BENTOBATCH_TOKEN": TOKEN}
    command = ["sh", str(made.bundle / "docker-entrypoint.sh"), "serve"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd="/", env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as server,
    ):
        try:
            for _ in range(600):
                if server.poll() is not None or answer(port, "/ping") == 200:
                    break
                time.sleep(0.1)
            assert server.poll() is None, log.read_text()
            yield port
        finally:
            server.terminate()


def answer(port: int, path: str, body: bytes | None = None, **headers: str) -> int | bytes:
    """The body that a POST is answered with, else the status; 0 where nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(
            "GET" if body is None else "POST", path, body, {"Content-Type": "application/json", **headers}
        )
        response = connection.getresponse()
        data = response.read()
        return data if body is not None and response.status == 200 else response.status
    except OSError:
        return 0
    finally:
        connection.close()


def test_a_container_serves_to_those_who_have_the_token(made: Made, served: int) -> None:
    """Under the api's route, and under SageMaker's; its health check says that it is well."""
    assert answer(served, "/predict", b"4") == 401
    token = {"Authorization": f"Bearer {TOKEN}"}
    found = answer(served, "/predict", b"4", **token)
    assert isinstance(found, bytes)
    assert found == answer(served, "/invocations", b"4", **token)
    assert found.strip() == b"8"
    assert made.run("healthcheck", BENTOBATCH_PORT=str(served)) == ""


def test_the_health_check_fails_where_nothing_answers(made: Made) -> None:
    """By its exit code, which is all that Docker looks at."""
    assert "refused" in made.run("healthcheck", ok=1, BENTOBATCH_PORT="1").lower()
