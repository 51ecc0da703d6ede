"""Environments are built once, whole or not at all, and one that cannot be built says why in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bentobatch.cli.main import main
from bentobatch.engine.remote import check_env_root
from bentobatch.environments import building, interpreters
from bentobatch.environments.building import Environment, environments_folder, kept_environment
from bentobatch.environments.choosing import checked_env, environment_of_bundle, interpreters_for
from bentobatch.environments.interpreters import Interpreter, ask, check, check_age, find
from bentobatch.environments.requirements import placed, wanted_of
from bentobatch.errors import BundleError, MissingDependencyError, UsageError
from tests.environments.conftest import Rivals


@pytest.fixture(scope="module")
def here() -> Interpreter:
    """This test's own interpreter."""
    found = ask(sys.executable)
    assert found is not None
    return found


def test_of_two_that_want_the_same_environment_one_builds_it(here: Interpreter) -> None:
    """The other waits, and finds it whole."""
    built: list[Path] = []

    def fill(made: Environment) -> None:
        built.append(made.folder)
        assert not made.whole

    def want() -> None:
        found.append(kept_environment("same", here, fill, what="the environment"))

    found: list[str] = []
    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert found == [str(built[0] / "bin" / "python")] * 3


def test_a_half_built_environment_is_never_used(here: Interpreter) -> None:
    """What a build that was killed has left is removed, and built anew."""
    path = kept_environment("key", here, lambda made: None, what="the environment")
    folder = Path(path).parents[1]
    (folder / "bentobatch-environment.json").unlink()  # it is written last
    (folder / "left.txt").touch()
    assert kept_environment("key", here, lambda made: None, what="the environment") == path
    assert not (folder / "left.txt").exists()


def test_another_interpreter_or_other_requirements_make_another_environment(here: Interpreter) -> None:
    """The key is all that the environment is made from."""
    other = Interpreter(here.path, "3.99.0", here.kind, here.platform, here.packages)
    made = {kept_environment(key, base, lambda made: None, what="it") for key in ("a", "b") for base in (here, other)}
    assert len(made) == 4


def test_a_build_that_fails_says_what_the_installer_said(kept: Rivals, capfd: pytest.CaptureFixture[str]) -> None:
    """In one line, with the place of the log; nothing is left that could be used."""
    bundle = kept.home.parent / "Impossible"
    shutil.rmtree(bundle, ignore_errors=True)
    (kept.home.parent / "Impossible.txt").write_text(f"--no-index\n--find-links {kept.wheels}\nrivals==7.0\n")
    program = (
        "import sys; sys.path.insert(0, '.'); import bentobatch, first_rival as f;"
        "bentobatch.env(requirements_txt_file='Impossible.txt')(f.First); f.First().save_to_dir('Impossible')"
    )
    root = str(Path(building.__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", program], cwd=kept.home.parent, check=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert main(["run", str(bundle), "predict", "--input", '{"x": 1}', "--env", "bundle", "--quiet"]) == 65
    (line,) = capfd.readouterr().err.splitlines()
    assert "the environment of First:" in line
    assert "rivals==7.0" in line
    log = Path(line.rpartition("see ")[2])
    assert "rivals==7.0" in log.read_text()
    assert not log.with_suffix("").exists()


def test_a_changed_bundle_is_not_built_for(kept: Rivals, tmp_path: Path) -> None:
    """Its requirements are checked against the manifest before anything of them is installed."""
    shutil.copytree(kept.first, tmp_path / "changed")
    (tmp_path / "changed" / "requirements.txt").write_text("something-else\n")
    with pytest.raises(BundleError, match=r"requirements\.txt was changed"):
        wanted_of(tmp_path / "changed")
    with pytest.raises(BundleError, match="changed since the run was planned"):
        wanted_of(kept.first, "0" * 64)


def test_what_stands_for_bentobatch_itself_is_not_installed(kept: Rivals, bundles: Path) -> None:
    """The workers take the leader's; of the distribution only what it needs is installed."""
    lines = wanted_of(kept.first).lines
    assert lines == ("--no-index", f"--find-links {kept.wheels}", "rivals==1.0")
    made = ask(environment_of_bundle(wanted_of(kept.first), find(sys.executable, whose="it")))
    assert made is not None
    assert {"rivals", "pyarrow"} <= dict(made.packages).keys()
    own = (bundles / "linear" / "requirements.txt").read_text()
    assert "bentobatch==" in own
    assert not any("bentobatch==" in line for line in wanted_of(bundles / "linear").lines)


def test_folders_of_the_bundle_are_given_to_installers_as_absolute_paths(tmp_path: Path) -> None:
    """pip and uv take a relative one from different places."""
    (tmp_path / "wheels").mkdir()
    lines = placed(["--find-links wheels", "--find-links=wheels", "--find-links https://host/x", "a==1"], tmp_path)
    assert lines == [f"--find-links {tmp_path}/wheels"] * 2 + ["--find-links https://host/x", "a==1"]


def test_a_python_that_is_nowhere_is_named_with_what_to_do() -> None:
    """The error says where it was looked for."""
    with pytest.raises(MissingDependencyError, match=r"Old:1 wants Python 3\.1, .*python3\.1 on PATH.*--env bundle:"):
        find("3.1.4", whose="Old:1")
    with pytest.raises(UsageError, match="no version of Python"):
        find("latest", whose="Old:1")
    with pytest.raises(MissingDependencyError, match="no Python that starts"):
        find("/bin/false", whose="Old:1")


def test_a_python_is_found_by_its_first_two_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one, then PATH, then pyenv's versions, the newest first; a command that does not start is passed over."""
    assert find("{}.{}.999".format(*sys.version_info[:2]), whose="it").path == sys.executable
    scripts = {"bin/python3.77": 1, ".pyenv/versions/3.77.2/bin/python3.77": 0}
    for name, status in scripts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        answer = '{"version": "3.77.2", "kind": "k", "platform": "p", "packages": {}}'
        path.write_text(f"#!/bin/sh\n[ {status} = 0 ] && echo '{answer}'\nexit {status}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / ".pyenv"))
    assert find("3.77", whose="it").path == str(tmp_path / ".pyenv/versions/3.77.2/bin/python3.77")


def test_an_environment_that_cannot_hold_bentobatch_is_refused(here: Interpreter, tmp_path: Path) -> None:
    """Its Python is too old even for models, or it lacks a library, or has it too old; the line says what to install."""
    old = Interpreter("/old/python", "3.6.15", here.kind, here.platform, here.packages)
    with pytest.raises(MissingDependencyError, match=r"it is of Python 3\.6\.15, and models are run by 3\.7 and later"):
        check_age(old, where="it")
    packages = {**dict(here.packages), "pandas": "1.5.3"}
    del packages["orjson"]
    bare = Interpreter("/bare/python", here.version, here.kind, here.platform, tuple(packages.items()))
    with pytest.raises(MissingDependencyError, match=r"/bare/python -m pip install 'orjson>=[\d.]+' 'pandas>=2\.2'"):
        check(bare, where="it")
    check(here, where="it")


def test_a_path_that_is_no_environment_is_refused(tmp_path: Path) -> None:
    """A folder without an interpreter, or a file that is none."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("")
    for name in ("empty", "text"):
        env = checked_env(str(tmp_path / name))
        assert env is not None
        with pytest.raises(UsageError, match="no Python that starts"):
            interpreters_for(env, "", "")
    with pytest.raises(UsageError, match="needs a Python after the colon"):
        checked_env("bundle:")


def test_a_worker_that_names_its_roots_takes_no_interpreter_from_elsewhere(tmp_path: Path) -> None:
    """A plan could name any program of the machine."""
    roots = {"BENTOBATCH_WORKER_ROOTS": str(tmp_path)}
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").symlink_to(sys.executable)
    for allowed in (None, "bundle", "bundle:3.11", str(tmp_path / "env"), str(tmp_path / "env" / "bin" / "python")):
        check_env_root(allowed, roots)
    for refused in (sys.executable, f"bundle:{sys.executable}", f"{tmp_path}/env/../../elsewhere/python"):
        with pytest.raises(UsageError, match="takes plans below"):
            check_env_root(refused, roots)


def test_uv_is_used_where_it_is_present(
    kept: Rivals, here: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorder in its place: the commands are those that its documentation has."""
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    made = Environment(environments_folder() / "uv-test", "it")
    made.folder.parent.mkdir(parents=True, exist_ok=True)
    made.create(here)
    made.install(["--requirement", "r.txt"])
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"venv --no-project --python {here.path} {made.folder}",
        f"pip install --python {made.folder}/bin/python --requirement r.txt",
    ]


def test_bentobatchs_own_needs_have_a_form_that_environments_are_checked_by() -> None:
    """A name and a lowest version."""
    assert interpreters.own_requirements()
    for line in interpreters.own_requirements():
        assert interpreters._OWN_REQUIREMENT.fullmatch(line), line
