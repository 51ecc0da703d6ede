"""This module tests that a bundle is an installable Python project: its package, its console command, its archives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from bentobatch.bundle.manifest import read_manifest
from bentobatch.bundle.package import installable, package_version
from tests.bundle.services import save_service


class Installed(NamedTuple):
    """A bundle, the environment that it was installed into, and another folder to work in."""

    bundle: Path
    python: Path
    package: Path
    folder: Path

    def run(self, *words: str, ok: int = 0) -> str:
        """The output of a command of the environment, which must exit with ``ok``."""
        command = [str(self.python.parent / words[0]), *words[1:]]
        env = {"BENTOBATCH_HOME": str(self.folder / "home"), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == ok, done.stderr
        return done.stdout if ok == 0 else done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, clean_environment: Path) -> Installed:
    """The bundle of Scorer, installed by `pip install ./bundle` without an index. Its libraries are those of this Python,
    which stand for a download of them; bentobatch itself is not among them."""
    folder = tmp_path_factory.mktemp("package")
    bundle = save_service(folder / "p", folder / "b")
    words = ["install", "--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", "./b"]
    subprocess.run([str(clean_environment), "-m", "pip", *words], check=True, cwd=folder, stdin=subprocess.DEVNULL)
    site = clean_environment.parents[1] / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # a path alone: no .pth in there counts
    (folder / "elsewhere").mkdir()
    return Installed(bundle, clean_environment, site / "Scorer", folder / "elsewhere")


def test_the_package_is_named_after_the_service_and_loads_it(installed: Installed) -> None:
    """`import Scorer; Scorer.load()` as in BentoML 0.13; the version is the service's."""
    code = "import Scorer; s = Scorer.load(); print(s.tag, Scorer.__version__, Scorer.__VERSION__, s.predict([1]))"
    assert installed.run("python", "-c", code) == "Scorer:v1 v1 v1 [('a', 'late a', 'late a', 1)]\n"


def test_the_console_command_runs_the_installed_bundle(installed: Installed) -> None:
    """`Scorer run` is `bentobatch run BUNDLE`, by the bentobatch that the package brings along where there is none."""
    out = installed.run("Scorer", "run", "predict", "--input", "5", "--quiet")
    assert json.loads(out)["prediction"] == ["a", "late a", "late a", 5]
    info = json.loads(installed.run("Scorer", "info"))
    assert info["digest"] == read_manifest(installed.bundle).digest
    assert "Scorer run [OPTIONS] [API]" in installed.run("Scorer", "run", "--help")
    shown = installed.run("Scorer", "--help")
    assert {"run", "info", "serve"} <= {line.split()[0] for line in shown.splitlines() if line.startswith("  ")}
    assert "(see Scorer run --help)" in installed.run("Scorer", "run", "--no-such-option", ok=2)


def test_an_installed_bundle_is_compared_with_its_digest(installed: Installed) -> None:
    """A file that was changed in site-packages is an error as in any bundle; nothing of it runs."""
    model = installed.package / "_bundle" / "Scorer" / "late.py"
    before = model.read_bytes()
    model.write_bytes(before + b"\n# more\n")
    try:
        said = installed.run("Scorer", "run", "predict", "--input", "5", "--quiet", ok=65)
        assert "late.py was changed after the bundle was saved" in said
    finally:
        model.write_bytes(before)


def test_the_metadata_asks_for_what_the_bundle_and_the_carried_bentobatch_need(installed: Installed) -> None:
    """So pip installs the libraries with it; the server's are an extra, as they are bentobatch's."""
    code = (
        "import importlib.metadata as m, json; d = m.distribution('scorer');"
        "print(json.dumps([d.metadata['Name'], d.version, d.requires, d.metadata.get_all('Provides-Extra')]))"
    )
    name, version, requires, extras = json.loads(installed.run("python", "-c", code))
    assert (name, version) == ("Scorer", "1")
    assert any(line.startswith("cloudpickle==") for line in requires)
    assert "click>=8.1.7" in requires
    assert 'flask>=3.1; extra == "server"' in [line.replace("'", '"') for line in requires]
    assert "server" in extras
    assert not any(line.startswith("bentobatch") for line in requires)


def build(bundle: Path, hook: str, folder: Path) -> Path:
    """Call a hook of the backend as a build tool does: in the project's folder, in a process of its own."""
    folder.mkdir(exist_ok=True)
    code = (
        "import sys; sys.path.insert(0, '.'); import bentobatch_build as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
    )
    command = [sys.executable, "-I", "-B", "-c", code, hook, str(folder)]
    done = subprocess.run(command, cwd=bundle, check=True, capture_output=True, text=True)
    return folder / done.stdout.strip()


def test_the_archives_hold_the_bundle_and_the_same_bytes_each_time(installed: Installed, tmp_path: Path) -> None:
    """The source archive is the bundle, whose wheel is the very one that is built of the folder; stray files stay out."""
    bundle = tmp_path / "b"
    shutil.copytree(installed.bundle, bundle)
    (bundle / "stray.txt").write_text("not of the bundle")
    wheel = build(bundle, "build_wheel", tmp_path / "one")
    sdist = build(bundle, "build_sdist", tmp_path / "one")
    assert (wheel.name, sdist.name) == ("scorer-1-py3-none-any.whl", "scorer-1.tar.gz")
    assert build(bundle, "build_wheel", tmp_path / "two").read_bytes() == wheel.read_bytes()
    assert build(bundle, "build_sdist", tmp_path / "two").read_bytes() == sdist.read_bytes()
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    again = build(tmp_path / "unpacked" / "scorer-1", "build_wheel", tmp_path / "three")
    assert again.read_bytes() == wheel.read_bytes()
    listed = {"bentoml.yml", *read_manifest(installed.bundle).files}
    assert {path.relative_to(tmp_path / "unpacked/scorer-1").as_posix() for path in (tmp_path / "unpacked").rglob("*")
            if path.is_file()} == {*listed, "PKG-INFO"}  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        inside = {name.removeprefix("Scorer/_bundle/") for name in archive.namelist() if "/_bundle/" in name}
        assert inside == listed
        assert archive.testzip() is None


def test_no_link_goes_into_an_archive(installed: Installed, tmp_path: Path) -> None:
    """A file that was replaced by a link would bring along whatever it leads to."""
    bundle = tmp_path / "b"
    shutil.copytree(installed.bundle, bundle)
    (tmp_path / "secret").write_text("secret")
    (bundle / "docs.json").unlink()
    (bundle / "docs.json").symlink_to(tmp_path / "secret")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        build(bundle, "build_sdist", tmp_path / "out")
    assert "'docs.json' is a link" in caught.value.stderr


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.2", "1.2"),
        ("v3", "3"),
        ("20261128_C0FFEE", "20261128+c0ffee"),
        ("2026.01.02-rc.01", "2026.1.2+rc.1"),
        ("nightly", "0+nightly"),
        ("_", "0"),
    ],
)
def test_every_version_has_a_form_that_indexes_take(version: str, expected: str) -> None:
    """PEP 440; pip refuses anything else."""
    assert package_version(version) == expected


def test_only_requirements_go_into_metadata() -> None:
    """Options, paths and comments of a requirements file stay in it, and no line of it can add a field."""
    lines = [
        "--find-links x", "numpy==1.0", "# note", "a>=1,<2 ; python_version<'3.11'", "foo==1 --hash=sha256:x \\",
        "    --hash=sha256:y", "./x.whl", "git+https://example.org/y", "b @ https://example.org/y.whl", "bentobatch==1",
        "c[x,y]~=1.2 # why", "-e .", "x y", "numpy==1.0", "evil\rRequires-Dist: other",
    ]  # fmt: skip
    expected = [
        "numpy==1.0",
        "a>=1,<2 ; python_version<'3.11'",
        "foo==1",
        "b @ https://example.org/y.whl",
        "c[x,y]~=1.2",
    ]
    assert installable(lines) == [*expected, "evil"]
