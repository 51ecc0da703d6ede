"""This module holds what every artifact must do; the test of a framework subclasses FrameworkSuite and names its model.

Plug-ins of other distributions may subclass it as well: it asks nothing but the methods below.
"""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.unpickle import class_resolver, pickles_refused

HELPER = "framework_suite_helper"
METADATA = {"accuracy": 0.97, "folds": [0.9, {"seed": 1}], "data": {"rows": 150, "source": "iris"}}


def triple(values: Any) -> Any:
    """What ``make_model_with`` gets, under another module's name."""
    return values * 3


def files_in(folder: Path) -> list[Path]:
    """Every file below ``folder``; some models are folders of files."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


class FrameworkSuite:
    """Subclass as TestSomething and override what raises NotImplementedError."""

    feature_names: ClassVar[list[str] | None] = None
    feature_count: ClassVar[int | None] = None
    classes: ClassVar[list[Any] | None] = None
    takes_anything = False
    """Whether the artifact takes every object, so that no model is of a wrong type."""

    def make_artifact(self, name: str = "model") -> BentoServiceArtifact:
        raise NotImplementedError

    def make_model(self) -> Any:
        raise NotImplementedError

    def predict(self, model: Any) -> Any:
        """What the model makes of a fixed input; an array, or a value that compares."""
        raise NotImplementedError

    def wrong_models(self) -> list[Any]:
        """Objects that the artifact does not take."""
        return [object(), print, {1, 2}]

    def make_model_with(self, function: Callable[[Any], Any]) -> Any:
        """A model that holds ``function`` by reference. Only for artifacts that pickle."""
        raise NotImplementedError

    def apply_model_with(self, model: Any) -> float:
        """What the function in that model makes of 1.0."""
        raise NotImplementedError

    def saved(self, folder: Path, name: str = "model") -> BentoServiceArtifact:
        """A packed artifact, which was written into ``folder``."""
        artifact = self.make_artifact(name).pack(self.make_model(), metadata=METADATA)
        artifact.save_model(folder)
        return artifact

    def loaded(self, folder: Path, name: str = "model") -> BentoServiceArtifact:
        """Another artifact, filled from ``folder``."""
        return self.make_artifact(name).load(folder, metadata=METADATA)

    @pytest.fixture
    def helper(self) -> Iterator[types.ModuleType]:
        """An importable module with a function ``treble``, gone after the test."""
        module = types.ModuleType(HELPER)
        function = types.FunctionType(triple.__code__, module.__dict__, "treble")
        function.__module__ = HELPER
        function.__qualname__ = "treble"
        module.__dict__["treble"] = function
        sys.modules[HELPER] = module
        yield module
        sys.modules.pop(HELPER, None)

    def test_a_model_predicts_the_same_after_saving_and_loading(self, tmp_path: Path) -> None:
        """Round trip: equal predictions, value for value."""
        before = self.predict(self.saved(tmp_path).get())
        np.testing.assert_array_equal(before, self.predict(self.loaded(tmp_path).get()))

    def test_loading_twice_gives_equal_models(self, tmp_path: Path) -> None:
        """Loading changes nothing in the folder, and depends on nothing that was loaded before."""
        self.saved(tmp_path)
        files = {path: path.read_bytes() for path in files_in(tmp_path)}
        first, second = self.loaded(tmp_path).get(), self.loaded(tmp_path).get()
        np.testing.assert_array_equal(self.predict(first), self.predict(second))
        assert files == {path: path.read_bytes() for path in files_in(tmp_path)}

    def test_a_loaded_model_can_be_saved_again(self, tmp_path: Path) -> None:
        """A bundle can be made of a bundle."""
        before = self.predict(self.saved(tmp_path).get())
        again = tmp_path / "again"
        again.mkdir()
        self.loaded(tmp_path).save_model(again)
        np.testing.assert_array_equal(before, self.predict(self.loaded(again).get()))

    def test_metadata_is_kept_and_cannot_be_changed(self, tmp_path: Path) -> None:
        """Read-only to its depth, packed or loaded, and independent of the caller's dict."""
        given = json.loads(json.dumps(METADATA))
        artifact = self.make_artifact().pack(self.make_model(), metadata=given)
        given["accuracy"] = 0
        artifact.save_model(tmp_path)
        for held in (artifact, self.loaded(tmp_path)):
            assert held.metadata == METADATA
            with pytest.raises(TypeError, match="read-only"):
                held.metadata["data"]["rows"] = 1
            with pytest.raises(TypeError, match="read-only"):
                held.metadata["folds"].append(1)

    def test_an_empty_artifact_says_that_it_holds_no_model(self) -> None:
        """get before pack or load."""
        artifact = self.make_artifact()
        assert not artifact.packed
        with pytest.raises(UsageError, match="holds no model yet"):
            artifact.get()

    def test_a_wrong_object_is_refused_and_named(self) -> None:
        """check: a UsageError that names the artifact, before anything is stored; the slot stays empty."""
        if self.takes_anything:
            assert self.make_artifact().pack(object()).packed
            return
        for wrong in self.wrong_models():
            artifact = self.make_artifact()
            with pytest.raises(UsageError, match=type(artifact).__name__):
                artifact.pack(wrong)
            assert not artifact.packed

    def test_files_begin_with_the_name_of_the_artifact(self, tmp_path: Path) -> None:
        """Everything of an artifact can be found by its name."""
        self.saved(tmp_path, "churn")
        names = [path.name for path in tmp_path.iterdir()]
        assert names
        assert all(name.startswith(("churn.", "churn_")) for name in names)

    def test_two_artifacts_of_one_type_share_a_folder(self, tmp_path: Path) -> None:
        """Names that begin alike do not collide."""
        self.saved(tmp_path, "model")
        alone = {path.name for path in tmp_path.iterdir()}
        self.saved(tmp_path, "model2")
        assert len(list(tmp_path.iterdir())) == 2 * len(alone)
        for name in ("model", "model2"):
            assert self.loaded(tmp_path, name).packed

    def test_no_pickle_is_honoured_exactly_where_a_pickle_would_be_read(self, tmp_path: Path) -> None:
        """--no-pickle refuses what unpickles, by the artifact's word, and nothing else."""
        artifact = self.saved(tmp_path)
        token = pickles_refused.set(True)
        try:
            if not artifact.uses_pickle:
                assert self.loaded(tmp_path).packed
                return
            with pytest.raises(BundleError, match=type(artifact).__name__) as caught:
                self.loaded(tmp_path)
            assert str(tmp_path) in str(caught.value)
        finally:
            pickles_refused.reset(token)

    def test_uses_pickle_is_true_to_the_files(self, tmp_path: Path) -> None:
        """An artifact that claims to store no pickle has none among its files."""
        artifact = self.saved(tmp_path)
        begins_as_pickle = [path.name for path in files_in(tmp_path) if path.read_bytes()[:2] in _PICKLES]
        assert bool(begins_as_pickle) == artifact.uses_pickle

    def test_a_missing_file_is_one_line_that_names_it(self, tmp_path: Path) -> None:
        """A bundle that lost a file: BundleError, not a library's traceback."""
        with pytest.raises(BundleError, match=r"model[._]") as caught:
            self.make_artifact().load(tmp_path)
        assert "\n" not in str(caught.value)

    def test_a_damaged_file_is_one_line_that_names_it(self, tmp_path: Path) -> None:
        """The first half of each file is not a model."""
        self.saved(tmp_path)
        for path in files_in(tmp_path):
            path.write_bytes(b"\xff\xfe" + path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(BundleError, match=r"model[._]") as caught:
            self.make_artifact().load(tmp_path)
        assert "\n" not in str(caught.value)

    def test_what_the_model_knows_of_its_input_is_told(self, tmp_path: Path) -> None:
        """Feature names, their number and the classes, of the packed and of the loaded model."""
        for artifact in (self.saved(tmp_path), self.loaded(tmp_path)):
            assert artifact.feature_names() == self.feature_names
            assert artifact.feature_count() == self.feature_count
            assert artifact.classes() == self.classes

    def test_a_fresh_artifact_has_the_same_options_and_no_model(self, tmp_path: Path) -> None:
        """Each instance of a service has its own slots."""
        packed = self.saved(tmp_path)
        fresh = packed.fresh()
        assert not fresh.packed
        assert packed.packed
        assert (fresh.name, fresh.config()) == (packed.name, packed.config())

    def test_the_options_are_json(self) -> None:
        """config goes into the manifest, and makes an equal artifact."""
        artifact = self.make_artifact()
        config = json.loads(json.dumps(artifact.config()))
        assert type(artifact)(artifact.name, **config).config() == config

    def test_what_a_pickle_names_is_asked_of_the_resolver_first(self, tmp_path: Path, helper: types.ModuleType) -> None:
        """A bundle's own modules are found by the bundle, and sys.modules stays as it is."""
        if not self.make_artifact().pack(self.make_model()).uses_pickle:
            assert type(self).make_model_with is FrameworkSuite.make_model_with  # stores no code, so nothing to resolve
            return
        self.make_artifact().pack(self.make_model_with(helper.treble)).save_model(tmp_path)
        del sys.modules[HELPER]
        with pytest.raises(BundleError, match=HELPER):
            self.make_artifact().load(tmp_path)
        own = types.FunctionType(triple.__code__, {}, "treble")
        asked: list[tuple[str, str]] = []

        def resolver(module: str, name: str) -> Any:
            asked.append((module, name))
            return own if module == HELPER else NotImplemented

        token = class_resolver.set(resolver)
        try:
            model = self.make_artifact().load(tmp_path).get()
        finally:
            class_resolver.reset(token)
        assert self.apply_model_with(model) == 3.0
        assert (HELPER, "treble") in asked
        assert HELPER not in sys.modules

    def test_importing_the_artifact_imports_no_model_library(self) -> None:
        """A service's module imports its artifact class where the library may be missing; the message comes later."""
        module = type(self.make_artifact()).__module__
        code = f"import sys, {module}; print([m for m in {_HEAVY!r} if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=_ROOT)
        assert (done.stdout.strip(), done.stderr) == ("[]", "")


_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_HEAVY = (
    *(
        "numpy",
        "pandas",
        "pyarrow",
        "sklearn",
        "joblib",
        "xgboost",
        "lightgbm",
        "cloudpickle",
        "catboost",
        "statsmodels",
    ),
    *("skops", "onnx", "onnxruntime", "mlflow", "spacy", "fasttext", "h2o", "torch", "transformers", "fastai"),
    *("tensorflow", "keras", "paddle", "coremltools"),
)
_ROOT = Path(__file__).parents[2]
