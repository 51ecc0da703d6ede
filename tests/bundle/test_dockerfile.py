"""This module tests the Dockerfile of a bundle and its scripts: by the rules of hadolint, by hostile text, case by case."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bentobatch.bundle import image
from bentobatch.bundle.image import asks_for_conda, base_image, dockerfile
from tests.bundle.dockerfiles import PYTHON, doubler, instructions, words
from tests.security.test_documents import HOSTILE

ENV = {"python_version": f"{PYTHON}.4", "conda_env": {"dependencies": [f"python={PYTHON}", "pip"]}}


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
