"""This module tests the wheel of bentobatch that a bundle carries where bentobatch came from no index."""

from __future__ import annotations

import importlib.metadata
import io
import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import bentobatch
from bentobatch.bundle import own_wheel as module
from bentobatch.bundle.own_wheel import make_wheel, own_requirement, own_wheel
from tests.bundle.projects import snapshot
from tests.bundle.services import save_service

FILES = {"bentobatch/__init__.py": b"__version__ = '0.1.0'\n", "bentobatch/py.typed": b""}
INFORMATION = {"METADATA": "Metadata-Version: 2.1\nName: bentobatch\nVersion: 0.1.0\nRequires-Dist: click>=8\n"}


def installed(
    folder: Path, *, version: str = "0.1.0", direct_url: str | None = None
) -> importlib.metadata.Distribution:
    """A distribution ``bentobatch`` that was unpacked into ``folder``."""
    info = folder / f"bentobatch-{version}.dist-info"
    info.mkdir(parents=True)
    (folder / "bentobatch").mkdir()
    (folder / "bentobatch/__init__.py").write_text("")
    (info / "METADATA").write_text(INFORMATION["METADATA"].replace("0.1.0", version))
    (info / "RECORD").write_text("bentobatch/__init__.py,,\n")
    if direct_url is not None:
        (info / "direct_url.json").write_text(direct_url)
    return importlib.metadata.Distribution.at(info)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, clean_environment: Path) -> Path:
    """A folder that pip installed bentobatch into, by a bundle's requirements.txt, from another working directory."""
    folder = tmp_path_factory.mktemp("installed")
    bundle = save_service(folder / "p", folder / "b")
    place = folder / "target"
    words = [
        "--no-index",
        "--no-deps",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
        "--target",
        str(place),
    ]
    lines = (bundle / "requirements.txt").read_text().splitlines()
    (bundle / "own.txt").write_text("\n".join(line for line in lines if "bentobatch" in line or line.startswith("-")))
    command = [str(clean_environment), "-m", "pip", "install", *words, "-r", str(bundle / "own.txt")]
    subprocess.run(command, check=True, cwd=folder, stdin=subprocess.DEVNULL)
    return place


def test_the_same_content_makes_the_same_bytes_and_other_content_another_version() -> None:
    """The version's local part is made of the content, so two developers' states are told apart."""
    first, again = make_wheel(FILES, INFORMATION), make_wheel(dict(FILES), dict(INFORMATION))
    assert first == again
    other = make_wheel({**FILES, "bentobatch/more.py": b""}, INFORMATION)
    assert first.version != other.version
    assert first.version.startswith("0.1.0+b")
    assert first.path == f"bundled_pip_dependencies/bentobatch-{first.version}-py3-none-any.whl"


def test_the_local_part_of_a_version_is_made_anew() -> None:
    """What was installed from such a wheel makes that very wheel again."""
    first = make_wheel(FILES, INFORMATION)
    with zipfile.ZipFile(io.BytesIO(first.data)) as archive:
        metadata = archive.read(f"bentobatch-{first.version}.dist-info/METADATA").decode()
    assert f"\nVersion: {first.version}\n" in metadata
    assert make_wheel(FILES, {"METADATA": metadata}) == first


def test_metadata_without_a_version_makes_no_wheel() -> None:
    """It is an error, which own_wheel tells as a warning."""
    with pytest.raises(ValueError, match="has no version"):
        make_wheel(FILES, {"METADATA": "Metadata-Version: 2.1\nName: bentobatch\n"})


def test_pip_installs_the_carried_wheel_without_an_index(target: Path) -> None:
    """The code is whole, data files and the packages of the schedulers too, and the distribution says its version."""
    (info,) = target.glob("bentobatch-*.dist-info")
    distribution = importlib.metadata.Distribution.at(info)
    assert distribution.version.startswith(f"{bentobatch.__version__}+b")
    assert {"click>=8.1.7", "pyarrow>=18"} <= set(distribution.requires or ())
    here = Path(bentobatch.__file__).parent
    assert (target / "bentobatch/scorer.py").read_bytes() == (here / "scorer.py").read_bytes()
    assert (target / "bentobatch/repository/server/static/page.js").is_file()
    assert (target / "bentobatch_dask/__init__.py").is_file()
    (script,) = distribution.entry_points.select(group="console_scripts")
    assert script.value == "bentobatch.cli.start:main"


def test_an_installation_from_the_wheel_carries_it_on(target: Path) -> None:
    """A bundle that is saved there holds the same wheel, though pip left no direct_url.json."""
    code = (
        "from bentobatch.bundle.own_wheel import own_wheel as w; import bentobatch as b; print(b.__file__, w().version)"
    )
    env = {"PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=target.parent, env=env, capture_output=True, text=True
    )
    file, version = done.stdout.split()
    assert file.startswith(str(target))
    assert target.joinpath(f"bentobatch-{version}.dist-info").is_dir()


def test_what_came_from_an_index_is_asked_for_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its version, with no wheel; a place that it came from, a local version or another copy that runs is no index."""
    distribution = installed(tmp_path / "index")
    package = tmp_path / "index" / "bentobatch"
    assert module._is_from_index(distribution, package)
    assert not module._is_from_index(distribution, tmp_path / "checkout" / "bentobatch")
    placed = installed(tmp_path / "placed", direct_url='{"url": "file:///x", "dir_info": {}}')
    assert not module._is_from_index(placed, tmp_path / "placed" / "bentobatch")
    local = installed(tmp_path / "local", version="0.1.0+b12")
    assert not module._is_from_index(local, tmp_path / "local" / "bentobatch")
    monkeypatch.setattr(module, "_is_from_index", lambda distribution, package: True)
    assert own_wheel() is None
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    assert own_requirement(None) in (bundle / "requirements.txt").read_text().splitlines()
    assert not (bundle / "bundled_pip_dependencies").exists()


def test_a_checkout_that_is_not_installed_takes_its_requirements_from_pyproject(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PYTHONPATH=checkout is enough to save; without pyproject.toml a warning tells what is missing, and it saves."""
    root = Path(bentobatch.__file__).parents[1]
    if sys.version_info >= (3, 11):
        found = module._information(None, root)
        assert "Requires-Dist: click>=8.1.7\n" in found["METADATA"]
        assert 'Requires-Dist: flask>=3.1; extra == "server"\n' in found["METADATA"]
        assert "[console_scripts]\nbentobatch = bentobatch.cli.start:main\n" in found["entry_points.txt"]
    with pytest.raises(LookupError, match=r"requirements stand in no .*pyproject\.toml"):
        module._information(None, root / "bentobatch")


def test_saving_goes_on_where_no_wheel_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The bundle is whole but for the wheel, and a warning says what to do."""

    def fail(*_: object) -> dict[str, str]:
        raise LookupError("no METADATA")

    monkeypatch.setattr(module, "_information", fail)
    monkeypatch.setattr(module, "_made", {})
    with caplog.at_level(logging.WARNING, "bentobatch.bundle"):
        bundle = save_service(tmp_path / "p", tmp_path / "b")
    assert "carries no wheel of bentobatch" in caplog.text
    assert (bundle / "requirements.txt").read_text().splitlines()[0] == f"bentobatch=={bentobatch.__version__}"


def test_the_wheel_goes_along_when_a_loaded_service_is_saved_again(tmp_path: Path) -> None:
    """Byte for byte: requirements.txt names its very version."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    copy = Path(bentobatch.load(bundle).save_to_dir(tmp_path / "copy"))
    wheel = own_wheel()
    assert wheel is not None
    assert (copy / wheel.path).read_bytes() == (bundle / wheel.path).read_bytes() == wheel.data
    assert set(snapshot(copy)) == set(snapshot(bundle))


def test_the_wheel_is_made_once_in_a_process() -> None:
    """Hundreds of bundles cost one compression."""
    assert own_wheel() is own_wheel()
