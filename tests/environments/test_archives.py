"""An archive of an environment installs elsewhere, from what is in it alone."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from bentobatch.cli.main import main
from bentobatch.environments.archives import environment_from_archive
from bentobatch.environments.interpreters import ask
from bentobatch.errors import BundleError
from tests.environments.conftest import Rivals


@pytest.fixture(scope="module")
def archive(rivals: Rivals, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of the second bundle, made with ``bentobatch env build``."""
    target = tmp_path_factory.mktemp("archive") / "env.tar.gz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOBATCH_HOME", str(rivals.home))
        assert main(["env", "build", str(rivals.second), "-o", str(target)]) == 0
    return target


def rewritten(archive: Path, target: Path, **changes: bytes | None) -> Path:
    """A copy of an archive with some members changed (by their names without extensions)."""
    with tarfile.open(archive) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            stream = old.extractfile(member)
            assert stream is not None
            data = changes.get(Path(member.name).stem, stream.read())
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
    return target


def test_a_run_in_an_archives_environment_needs_nothing_else(
    kept: Rivals, archive: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The wheels that it was made from are gone, as on another machine."""
    moved = kept.wheels.rename(kept.wheels.with_name("gone"))
    try:
        arguments = ["--input", '{"x": 4}', "--env", str(archive), "--quiet"]
        assert main(["run", str(kept.second), "predict", *arguments]) == 0
    finally:
        moved.rename(kept.wheels)
    assert capfd.readouterr().out == '{"prediction":8.0}\n'


def test_an_archive_says_what_it_is(archive: Path) -> None:
    """Python, platform and bundle; and a lock with the checksum of every wheel."""
    with tarfile.open(archive) as content:
        names = content.getnames()
        described = json.load(content.extractfile("environment.json"))  # type: ignore[arg-type]
        lock = content.extractfile("requirements.lock").read().decode().splitlines()  # type: ignore[union-attr]
    assert described["format"] == 1
    assert described["bundle"].startswith("Second:")
    wheels = [name for name in names if name.startswith("wheels/")]
    assert len(lock) == len(wheels)
    assert any(line.startswith("rivals==2.0 --hash=sha256:") for line in lock)


def test_a_wheel_that_is_not_the_locked_one_is_not_installed(kept: Rivals, archive: Path, tmp_path: Path) -> None:
    """pip checks every wheel against the lock."""
    with tarfile.open(archive) as content:
        lock = content.extractfile("requirements.lock").read()  # type: ignore[union-attr]
    other = lock.replace(b"rivals==2.0 --hash=sha256:", b"rivals==2.0 --hash=sha256:" + b"0" * 64 + b"#")
    changed = rewritten(archive, tmp_path / "changed.tar.gz", requirements=other.replace(b"#", b" #"))
    with pytest.raises(BundleError, match="cannot be built"):
        environment_from_archive(changed)


def test_an_archive_for_another_platform_or_of_nothing_is_refused(kept: Rivals, archive: Path, tmp_path: Path) -> None:
    """Before anything of it is installed."""
    with tarfile.open(archive) as content:
        described = json.load(content.extractfile("environment.json"))  # type: ignore[arg-type]
    described["platform"] = "win32"
    changed = rewritten(archive, tmp_path / "a.tar.gz", environment=json.dumps(described).encode())
    with pytest.raises(BundleError, match="is for win32, and this machine is"):
        environment_from_archive(changed)
    described["format"] = 9
    changed = rewritten(archive, tmp_path / "b.tar.gz", environment=json.dumps(described).encode())
    with pytest.raises(BundleError, match="format 9"):
        environment_from_archive(changed)
    changed = rewritten(archive, tmp_path / "c.tar.gz", environment=None)
    with pytest.raises(BundleError, match="no archive that `bentobatch env build` made"):
        environment_from_archive(changed)
    shutil.copy(Path(__file__), tmp_path / "d.tar.gz")
    with pytest.raises(BundleError, match=r"d\.tar\.gz"):
        environment_from_archive(tmp_path / "d.tar.gz")


def test_env_build_without_an_archive_keeps_the_environment_here(
    kept: Rivals, capfd: pytest.CaptureFixture[str]
) -> None:
    """It prints the interpreter, so that a machine can be made ready before its first run."""
    assert main(["env", "build", str(kept.second)]) == 0
    found = ask(capfd.readouterr().out.strip())
    assert found is not None
    assert dict(found.packages)["rivals"] == "2.0"


def test_env_build_overwrites_nothing(kept: Rivals, archive: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The file, its folder, its ending and the Python are looked at before anything is fetched."""
    assert main(["env", "build", str(kept.second), "-o", str(archive)]) == 73
    assert "exists already" in capfd.readouterr().err
    assert main(["env", "build", str(kept.second), "-o", str(archive.parent / "no" / "env.tar.gz")]) == 73
    assert main(["env", "build", str(kept.second), "-o", "env.zip"]) == 2
    assert main(["env", "build", str(kept.second), "--python", "3.1"]) == 2
    assert "wants Python 3.1" in capfd.readouterr().err
