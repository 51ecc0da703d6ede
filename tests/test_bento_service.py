"""This module tests BentoService: saving into the repository and into folders, with the right versions."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import bentobatch
from bentobatch.bundle import imports, load
from bentobatch.bundle.manifest import read_manifest
from bentobatch.errors import OutputError, UsageError
from bentobatch.repository.local import resolve

ROOT = Path(__file__).parents[1]

SERVICE = """
import bentobatch
from bentobatch.adapters import JsonInput
from bentobatch.frameworks.json import JSONArtifact

@bentobatch.artifacts([JSONArtifact("model")])
class Doubler(bentobatch.BentoService):
    @bentobatch.api(input=JsonInput(), batch=True)
    def predict(self, values):
        return [value * self.artifacts.model["factor"] for value in values]

@bentobatch.ver(major=1, minor=2)
class Versioned(Doubler):
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of a service in a project of its own, and a repository of its own."""
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "home"))
    (tmp_path / "doubling_service.py").write_text(SERVICE)
    monkeypatch.syspath_prepend(tmp_path)
    installed = set(imports._installed)
    yield importlib.import_module("doubling_service")
    del sys.modules["doubling_service"]
    for package in set(imports._installed) - installed:
        load._codes.pop(imports._installed[package].digest, None)
        imports.uninstall(package)


def packed(cls: Any) -> Any:
    return cls().pack("model", {"factor": 2})


def test_save_puts_a_bundle_into_the_repository(module: Any, tmp_path: Path) -> None:
    """<home>/repository/NAME/VERSION, found again by name:version and name:latest."""
    service = packed(module.Doubler)
    assert service.predict([2]) == [4]
    path = service.save()
    assert path == str(tmp_path / "home/repository/Doubler" / service.version)
    assert resolve(service.tag) == Path(path)
    assert bentobatch.load(resolve("Doubler:latest")).predict([3]) == [6]


def test_each_saving_makes_a_version_unless_one_was_set(module: Any) -> None:
    """Without a version the next saving does not collide; a version that the user chose stays, and collides."""
    service = packed(module.Doubler)
    first = service.save()
    second = service.save()
    assert first != second
    service.set_version("mine")
    assert service.save().endswith("/mine")
    with pytest.raises(OutputError, match="exists already"):
        service.save()
    with pytest.raises(OutputError, match="exists already"):
        packed(module.Doubler).save(version="mine")
    assert read_manifest(Path(service.save(version="other"))).service_version == "other"


def test_ver_numbers_stand_before_the_version_once(module: Any, tmp_path: Path) -> None:
    """@ver(1, 2) makes 1.2.x; loading does not put the numbers there a second time."""
    path = packed(module.Versioned).save_to_dir(tmp_path / "b", version="7")
    service = bentobatch.load(path)
    assert service.version == "1.2.7"
    assert service.save().endswith("/Versioned/1.2.7")


def test_save_to_dir_returns_the_path_as_it_was_given(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is the bundle's folder itself, relative or not."""
    monkeypatch.chdir(tmp_path)
    assert packed(module.Doubler).save_to_dir("bundles/doubler") == "bundles/doubler"
    assert bentobatch.load("bundles/doubler").predict([1]) == [2]


@pytest.mark.parametrize("version", ["latest", "a/b", "..", "", "x" * 129])
def test_a_malformed_version_is_refused(module: Any, tmp_path: Path, version: str) -> None:
    """It would be a folder's name."""
    with pytest.raises(UsageError, match="version"):
        packed(module.Doubler).save(version=version)
    assert not (tmp_path / "home").exists()


def test_labels_are_written_into_the_bundle(module: Any, tmp_path: Path) -> None:
    """Text to text, in the form that selectors can name."""
    path = packed(module.Doubler).save(labels={"team": "risk", "stage": "prod-1"})
    assert read_manifest(Path(path)).content["labels"] == {"team": "risk", "stage": "prod-1"}
    for labels in ({"bad key": "x"}, {"k": ""}, {"k": 5}, {"k": "x" * 64}, {"-k": "v"}):
        with pytest.raises(UsageError, match="malformed"):
            packed(module.Doubler).save(labels=labels)


def test_a_service_in_a_script_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """A class in __main__: the message says why, and to put it into a file."""
    script = SERVICE + "\nDoubler().pack('model', {}).save_to_dir('b')\n"
    (tmp_path / "train.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "UsageError: the service's class is defined in __main__" in done.stderr
    assert "service.py" in done.stderr
    assert not (tmp_path / "b").exists()


def test_a_class_that_is_in_no_bundle_pickles_by_its_name_as_any_class(module: Any) -> None:
    """The special treatment of classes in bundles leaves others alone, with pickle and cloudpickle."""
    for pickler in (pickle, cloudpickle):
        assert pickler.loads(pickler.dumps(module.Doubler)) is module.Doubler


def test_a_class_in_a_script_still_goes_by_value_with_cloudpickle() -> None:
    """Its metaclass does not get in the way of notebooks."""
    code = SERVICE + (
        "import cloudpickle, sys\n"
        "cls = cloudpickle.loads(cloudpickle.dumps(Doubler))\n"
        "print(cls().pack('model', {'factor': 3}).predict([2]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[6]"
