"""This module tests artifacts that are written as BentoML 0.13 documents it, and those in the manner of this house."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sklearn.preprocessing import StandardScaler

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.sklearn import SklearnModelArtifact
from bentobatch.frameworks.unpickle import pickles_refused
from bentobatch.service.environment import environment_from
from tests.conformance.framework_suite import FrameworkSuite


class WordsArtifact(BentoServiceArtifact):
    """As in BentoML's guide to custom artifacts: overrides pack, get, save and load, and joins paths as text."""

    uses_pickle = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._content: Any = None

    def _file_path(self, base_path: str) -> str:
        return os.path.join(base_path + "/", self.name + ".words")

    def pack(self, content: Any) -> Any:
        if not isinstance(content, list):
            raise UsageError("WordsArtifact takes a list")
        self._content = content
        return self

    def get(self) -> Any:
        return self._content

    def save(self, dst: str) -> None:
        with open(self._file_path(dst), "w") as file:
            file.write(" ".join(self._content))

    def load(self, path: str) -> Any:
        try:
            with open(self._file_path(path), encoding="ascii") as file:
                return self.pack(file.read().split())
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"cannot read {self._file_path(path)}") from error

    def set_dependencies(self, env: Any) -> None:
        env.add_pip_packages(["words"])


class TestWordsArtifact(FrameworkSuite):
    def make_artifact(self, name: str = "model") -> Any:
        return WordsArtifact(name)

    def make_model(self) -> Any:
        return ["to", "be"]

    def predict(self, model: Any) -> Any:
        return model

    def test_importing_the_artifact_imports_no_model_library(self) -> None:
        """This artifact lives in a test, which does import them; its own base does not."""
        assert WordsArtifact.__mro__[1] is BentoServiceArtifact


class HouseArtifact(BentoServiceArtifact):
    """In this house's manner, with its own pack that converts and hands on."""

    uses_pickle: ClassVar[bool] = False

    def pack(self, model: Any, *, metadata: Any = None, upper: bool = False) -> Any:
        return super().pack(model.upper() if upper else model, metadata=metadata)

    def save_model(self, folder: Path) -> None:
        (folder / f"{self.name}.txt").write_text(self.get())

    def load_model(self, folder: Path) -> Any:
        return (folder / f"{self.name}.txt").read_text()


def test_metadata_reaches_a_pack_that_takes_it() -> None:
    """BentoML's own artifacts have ``pack(self, model, metadata=None)``."""
    seen = []

    class Taking(WordsArtifact):
        def pack(self, content: Any, metadata: Any = None) -> Any:
            seen.append(metadata)
            return super().pack(content)

    artifact = Taking("model").pack(["a"], metadata={"x": 1})
    assert seen == [{"x": 1}]
    assert artifact.metadata == {"x": 1}
    assert artifact.get() == ["a"]


def test_a_pack_that_fails_leaves_the_slot_as_it_was() -> None:
    """Neither packed nor with the metadata of what was refused."""
    artifact = WordsArtifact("model")
    with pytest.raises(UsageError):
        artifact.pack("no list", metadata={"x": 1})
    assert not artifact.packed
    assert artifact.metadata == {}


def test_a_pack_of_this_house_takes_options_and_metadata(tmp_path: Path) -> None:
    """``svc.pack(name, model, upper=True, metadata=…)`` goes through."""
    artifact = HouseArtifact("model").pack("abc", upper=True, metadata={"x": 1})
    assert (artifact.get(), artifact.metadata) == ("ABC", {"x": 1})
    artifact.save_model(tmp_path)
    loaded = HouseArtifact("model").load(tmp_path, metadata={"y": 2})
    assert (loaded.get(), loaded.metadata) == ("ABC", {"y": 2})


class WithNotes(SklearnModelArtifact):
    """A framework's artifact extended in BentoML's manner, through super()."""

    def save(self, dst: str) -> None:
        super().save(dst)
        with open(os.path.join(dst, f"{self.name}.notes"), "w") as file:
            file.write("fitted on nothing")

    def load(self, path: str) -> Any:
        super().load(path)
        with open(os.path.join(path, f"{self.name}.notes")) as file:
            self.notes = file.read()
        return self


def test_a_frameworks_artifact_can_be_extended_in_bentomls_manner(tmp_path: Path) -> None:
    """save_model and load, which bundles call, go through the overridden methods, and those through super()."""
    WithNotes("model").pack(StandardScaler(), metadata={"x": 1}).save_model(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.pkl", "model.notes"}
    loaded = WithNotes("model").load(tmp_path, metadata={"x": 1})
    assert isinstance(loaded.get(), StandardScaler)
    assert isinstance(loaded, WithNotes)
    assert (loaded.notes, loaded.metadata) == ("fitted on nothing", {"x": 1})


def test_a_load_of_bentomls_manner_is_refused_with_pickles(tmp_path: Path) -> None:
    """It may unpickle by itself, out of sight: without ``uses_pickle = False`` it does not even run."""
    ran = []

    class Sneaky(BentoServiceArtifact):
        def save(self, dst: str) -> None: ...

        def load(self, path: str) -> Any:
            ran.append(path)
            return self.pack(1)

    token = pickles_refused.set(True)
    try:
        with pytest.raises(BundleError, match="Sneaky 'model' is stored as a pickle"):
            Sneaky("model").load(tmp_path)
    finally:
        pickles_refused.reset(token)
    assert ran == []


def test_a_model_kept_as_the_base_keeps_it_needs_no_get(tmp_path: Path) -> None:
    """``self._model = …`` in pack or load is found by the base's get."""

    class Plain(BentoServiceArtifact):
        def pack(self, model: Any) -> Any:
            self._model = model
            return self

        def save(self, dst: str) -> None: ...

        def load(self, path: str) -> Any:
            self._model = path

    assert Plain("model").pack(3).get() == 3
    assert Plain("model").load(tmp_path).get() == str(tmp_path)


def test_dependencies_are_added_to_the_environment() -> None:
    """BentoML's hook."""
    environment = environment_from({})
    WordsArtifact("model").set_dependencies(environment)
    assert environment.pip_packages == ["words"]


def test_an_artifact_without_save_and_load_cannot_be_made() -> None:
    """Abstract methods that no manner provides."""

    class Nothing(BentoServiceArtifact):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Nothing("model")  # type: ignore[abstract]


@pytest.mark.parametrize("name", ["a b", "1st", "", "a.b", "a/b", "..", "é", None])
def test_an_artifacts_name_is_an_identifier(name: Any) -> None:
    """It is an attribute of svc.artifacts and the beginning of file names."""
    with pytest.raises(UsageError, match="identifier"):
        HouseArtifact(name)


def test_an_artifact_can_be_copied_and_pickled() -> None:
    """What it holds goes with it."""
    artifact = HouseArtifact("model").pack("abc", metadata={"x": [1]})
    for other in (copy.deepcopy(artifact), pickle.loads(pickle.dumps(artifact))):
        assert (other.name, other.get(), other.metadata, other.packed) == ("model", "abc", {"x": [1]}, True)
        assert not other.fresh().packed
