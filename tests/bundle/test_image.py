"""This module tests the Dockerfile of a bundle and its scripts: by the rules of hadolint, and by taking its steps here."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bentobatch.bundle import image
from bentobatch.bundle.image import asks_for_conda, base_image, dockerfile
from tests.bundle.dockerfiles import instructions, words
from tests.bundle.projects import project
from tests.security.test_documents import HOSTILE

SERVICE = """
import bentobatch
from bentobatch.adapters import JsonInput

@bentobatch.env(setup_sh="echo made > made_by_setup\\n", docker_base_image={image!r})
class Doubler(bentobatch.BentoService):
    @bentobatch.api(input=JsonInput(), batch=True)
    def predict(self, values):
        return [value * 2 for value in values]
"""
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
ENV = {"python_version": f"{PYTHON}.4", "conda_env": {"dependencies": [f"python={PYTHON}", "pip"]}}


def doubler(folder: Path, *, image: str | None = None) -> Path:
    """A bundle that asks for nothing but bentobatch, and has a setup script."""
    with project(folder / "p", {"service.py": SERVICE.format(image=image)}, "service") as module:
        return Path(module.Doubler().save_to_dir(folder / "bundle", version="v1"))


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


def test_the_dockerfile_keeps_hadolints_rules(tmp_path: Path) -> None:
    """Pinned image (DL3006, DL3007), absolute WORKDIR (DL3000) before COPY (DL3045), no ADD (DL3020), JSON commands
    (DL3025), last user not root (DL3002), one HEALTHCHECK (DL3012, DL3057), no MAINTAINER (DL4000), one CMD and ENTRYPOINT
    (DL4003, DL4004), no variable of its own ENV line (DL3044), no apt-get, sudo, cd or pipe in RUN."""
    found = instructions((doubler(tmp_path) / "Dockerfile").read_text())
    names = [name for name, _ in found]
    assert found[0] == ("FROM", f"python:{PYTHON}-slim")
    assert not {"ADD", "MAINTAINER", "SHELL", "ONBUILD", "VOLUME"} & set(names)
    for once in ("FROM", "WORKDIR", "HEALTHCHECK", "ENTRYPOINT", "CMD", "EXPOSE"):
        assert names.count(once) == 1
    by_name = dict(found)
    assert by_name["WORKDIR"].startswith("/")
    assert names.index("WORKDIR") < names.index("COPY")
    assert words(by_name["CMD"]) == ["serve-gunicorn"]
    assert words(by_name["ENTRYPOINT"])
    assert words(by_name["HEALTHCHECK"].partition("CMD ")[2])
    assert by_name["EXPOSE"] == "5000"
    assert by_name["USER"] == "${UID}:${GID}"  # a dict keeps the last
    for name, text in found:
        if name == "ENV":
            defined = set(re.findall(r'(\w+)="', text))
            assert not defined & set(re.findall(r"\$(\w+)", text)) or defined == {"PATH"}
        if name == "RUN":
            assert not re.search(r"apt|sudo|\bcd\b|\||curl|wget", text)


def test_the_scripts_keep_hadolints_rules_too() -> None:
    """apt-get with -y and --no-install-recommends, its lists removed (DL3009, DL3014, DL3015); pip without a cache (DL3042);
    set -eu; both are what every POSIX shell reads."""
    scripts = Path(image.__file__).parent / "scripts"
    for script in scripts.iterdir():
        text = script.read_text()
        assert text.startswith("#!/bin/sh\n")
        assert "\nset -eu\n" in text
        subprocess.run(["sh", "-n", str(script)], check=True)
    text = (scripts / "bentobatch-init.sh").read_text()
    assert text.count("apt-get install --no-install-recommends -y") == text.count("apt-get install")
    assert text.count("rm -rf /var/lib/apt/lists/*") == text.count("apt-get update")
    assert "pip install --no-cache-dir" in text


def test_an_image_of_another_python_is_refused_in_a_line(tmp_path: Path) -> None:
    """A model of Python 3.9 in another one fails later, and worse."""
    bundle = doubler(tmp_path)
    (bundle / "python_version").write_text("3.9.1")
    env = {"PATH": "/usr/bin:/bin", "BENTOBATCH_ENVIRONMENT": str(tmp_path / "env")}
    done = subprocess.run(
        ["sh", str(bundle / "bentobatch-init.sh"), "python"], env=env, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr == (
        "bentobatch-init.sh: there is no Python 3.9, which saved this bundle: take a docker_base_image that has it\n"
    )
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize("numbers", ["0:1034", "1034:0", "00:1034", "1034:00", "a:1", "1;id:1"])
def test_no_image_runs_as_root(tmp_path: Path, numbers: str) -> None:
    """--build-arg UID=0 is refused when the image is built."""
    user, group = numbers.split(":")
    env = {"PATH": "/usr/bin:/bin", "UID_OF_BENTO": user, "GID_OF_BENTO": group, "BENTOBATCH_ETC": str(tmp_path)}
    script = Path(image.__file__).parent / "scripts" / "bentobatch-init.sh"
    done = subprocess.run(["sh", str(script), "user"], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert not list(tmp_path.iterdir())


def steps_with_stand_ins(bundle: Path, folder: Path, *steps: str, programs: dict[str, str]) -> list[str]:
    """What the programs were given, line by line, while the steps were taken; each is a script that notes its arguments."""
    notes = folder / "said"
    for name, script in programs.items():
        program = folder / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name} $@" >>{notes}\n{script}\n')
        program.chmod(0o755)
    env = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "BENTOBATCH_ENVIRONMENT": str(folder / "env"),
        "CONSTRAINTS": "constraints.txt",
    }
    subprocess.run(["sh", str(bundle / "bentobatch-init.sh"), *steps], env=env, check=True, cwd=folder)
    return notes.read_text().splitlines() if notes.exists() else []


def test_requirements_with_hashes_are_installed_by_themselves(tmp_path: Path) -> None:
    """pip wants a hash of everything then, which the server's libraries and the constraints have not."""
    bundle = doubler(tmp_path)
    (bundle / "requirements.txt").write_text("numpy==2.0 --hash=sha256:00\n")
    said = steps_with_stand_ins(bundle, tmp_path, "packages", programs={"env/bin/python": ""})
    pip = "env/bin/python -m pip install --no-cache-dir --disable-pip-version-check"
    assert said == [
        f"{pip} -r requirements.txt",
        f"{pip} --find-links bundled_pip_dependencies -r {tmp_path}/env/server.txt",
    ]
    assert re.fullmatch(r"bentobatch\[server\]==\S+\n", (tmp_path / "env/server.txt").read_text())


def test_packages_are_installed_in_the_versions_of_the_constraints(tmp_path: Path) -> None:
    """In one go, with the server's."""
    said = steps_with_stand_ins(doubler(tmp_path), tmp_path, "packages", programs={"env/bin/python": ""})
    (line,) = said
    assert line.endswith(" --constraint constraints.txt -r requirements-server.txt")


@pytest.mark.parametrize(
    ("requirement", "missing", "installed"),
    [("lightgbm==4.6", True, True), ("lightgbm==4.6", False, False), ("numpy", True, False)],
)
def test_openmp_is_installed_where_a_library_would_not_find_it(
    tmp_path: Path, requirement: str, missing: bool, installed: bool
) -> None:
    """The wheels of LightGBM do not bring it, and slim images have not got it."""
    bundle = doubler(tmp_path)
    (bundle / "requirements.txt").write_text(f"{requirement}\n")
    programs = {"env/bin/python": f"exit {int(missing)}", "apt-get": "", "rm": ""}
    said = steps_with_stand_ins(bundle, tmp_path, "libraries", programs=programs)
    assert ("apt-get install --no-install-recommends -y libgomp1" in said) is installed


def test_conda_makes_the_environment_where_conda_packages_are_asked_for(tmp_path: Path) -> None:
    """By an image that has conda; environment.yml says what. A conda that notes its arguments stands for the real one."""
    env: dict[str, Any] = {**ENV, "conda_env": {"dependencies": [f"python={PYTHON}", "pip", "openjdk"]}}
    assert asks_for_conda(env["conda_env"])
    assert not asks_for_conda(ENV["conda_env"])
    found = instructions(dockerfile("A:1", env, has_setup=False, carries_wheels=False))
    assert found[0] == ("FROM", image.CONDA_IMAGE)
    assert ("RUN", '["sh", "bentobatch-init.sh", "conda"]') in found
    assert any(name == "COPY" and "environment.yml" in text for name, text in found)
    (tmp_path / "conda").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    (tmp_path / "conda").chmod(0o755)
    script = Path(image.__file__).parent / "scripts" / "bentobatch-init.sh"
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "BENTOBATCH_ENVIRONMENT": "/opt/x"}
    subprocess.run(["sh", str(script), "conda"], env=variables, check=True)
    assert (tmp_path / "said").read_text().splitlines()[0] == (
        "env create --quiet --prefix /opt/x --file environment.yml"
    )


def test_the_image_that_env_names_comes_first(tmp_path: Path) -> None:
    """docker_base_image, with whatever registry, tag or digest."""
    name = "registry.example.org:5000/team/base@sha256:" + "0" * 64
    assert base_image({**ENV, "docker_base_image": name}) == name
    assert instructions((doubler(tmp_path, image="python:3.12-alpine") / "Dockerfile").read_text())[0] == (
        "FROM", "python:3.12-alpine",
    )  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_of_a_manifest_becomes_an_instruction(name: str) -> None:
    """S16: also not of a bundle whose manifest says what @env would have refused, and which is saved again."""
    text = HOSTILE[name]
    hostile = {
        "python_version": f"3.11{text}", "docker_base_image": text, "bentobatch": text, "setup_sh": text,
        "conda_env": {"name": text, "dependencies": ["python=3.11", "pip"], "channels": [text]},
    }  # fmt: skip
    harmless = {**ENV, "python_version": "3.11.7"}
    found = dockerfile("A:1", hostile, has_setup=True, carries_wheels=True)
    assert instructions(found) == instructions(dockerfile("A:1", harmless, has_setup=True, carries_wheels=True))
