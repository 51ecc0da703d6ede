"""This module tests SklearnModelArtifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import joblib
import numpy as np
import pytest
from sklearn import datasets
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.sklearn import SklearnModelArtifact
from bentobatch.frameworks.unpickle import modules_named_by
from tests.conformance.framework_suite import FrameworkSuite

IRIS = datasets.load_iris(as_frame=True)
NAMES = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


class TestSklearnModelArtifact(FrameworkSuite):
    feature_names: ClassVar = NAMES
    feature_count = 4
    classes: ClassVar = [0, 1, 2]

    def make_artifact(self, name: str = "model") -> SklearnModelArtifact:
        return SklearnModelArtifact(name)

    def make_model(self) -> Any:
        return SVC(gamma="scale").fit(IRIS.data, IRIS.target)

    def predict(self, model: Any) -> Any:
        return model.decision_function(IRIS.data)

    def wrong_models(self) -> list[Any]:
        return ["model", object(), SVC, {"model": 1}]

    def make_model_with(self, function: Callable[[Any], Any]) -> Any:
        return FunctionTransformer(function)

    def apply_model_with(self, model: Any) -> float:
        return float(model.transform(np.array([[1.0]]))[0, 0])


def packed(model: Any) -> SklearnModelArtifact:
    artifact = SklearnModelArtifact("model")
    artifact.pack(model)
    return artifact


def test_a_pipeline_tells_the_names_of_its_first_step() -> None:
    """The features of a pipeline are those of its first step, its classes those of its last."""
    artifact = packed(make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS.data, IRIS.target))
    assert artifact.feature_names() == NAMES
    assert artifact.feature_count() == 4
    assert artifact.classes() == [0, 1, 2]


def test_a_pipeline_in_a_search_tells_the_names() -> None:
    """A search answers for its best estimator."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    artifact = packed(GridSearchCV(pipeline, {"logisticregression__C": [1.0]}, cv=2).fit(IRIS.data, IRIS.target))
    assert artifact.feature_names() == NAMES
    assert artifact.classes() == [0, 1, 2]


def test_a_model_fitted_on_an_array_knows_the_number_only() -> None:
    """No names, since it saw none."""
    artifact = packed(LinearRegression().fit(IRIS.data.to_numpy(), IRIS.target.to_numpy()))
    assert artifact.feature_names() is None
    assert artifact.feature_count() == 4
    assert artifact.classes() is None


def test_class_labels_are_python_values() -> None:
    """They become column names and JSON."""
    labels = IRIS.target_names[IRIS.target]
    assert packed(SVC().fit(IRIS.data, labels)).classes() == ["setosa", "versicolor", "virginica"]


def test_several_outputs_have_no_single_list_of_classes() -> None:
    """A forest with two targets has two sets of classes, which name no 2-D result's columns."""
    from sklearn.tree import DecisionTreeClassifier

    targets = np.column_stack([IRIS.target, IRIS.target % 2])
    assert packed(DecisionTreeClassifier().fit(IRIS.data, targets)).classes() is None


def test_names_that_lightgbm_invented_are_no_names() -> None:
    """The wrapper fitted on a bare array calls its columns Column_0…, which no file has."""
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(IRIS.data.to_numpy(), IRIS.target.to_numpy())
    assert packed(model).feature_names() is None
    assert packed(model).feature_count() == 4


class Homegrown(BaseEstimator):
    """An estimator of the user's own module."""

    def fit(self, _x: Any, _y: Any = None) -> Homegrown:
        return self

    def predict(self, x: Any) -> Any:
        return np.zeros(len(x))


def test_a_homegrown_estimator_is_taken_and_its_module_named(tmp_path: Path) -> None:
    """What infer_pip_packages and local code are found by."""
    packed(Homegrown()).save_model(tmp_path)
    assert __name__.partition(".")[0] in modules_named_by(tmp_path / "model.pkl")


def test_a_class_of_main_is_refused_at_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """joblib stores it by its name, which nobody else could look up; the message says what to do."""
    import __main__

    monkeypatch.setattr(Homegrown, "__module__", "__main__")
    monkeypatch.setattr(__main__, "Homegrown", Homegrown, raising=False)
    with pytest.raises(UsageError, match=r"refers to Homegrown, defined in __main__.*move the definition"):
        packed(Homegrown()).save_model(tmp_path)


def test_a_lambda_is_refused_at_saving(tmp_path: Path) -> None:
    """joblib cannot store it; the message says where functions may stand."""
    with pytest.raises(UsageError, match=r"SklearnModelArtifact 'model'.*cannot be pickled.*at the top of a module"):
        packed(FunctionTransformer(lambda x: x)).save_model(tmp_path)


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 1), ("lzma", 1), ("xz", 1), ("zlib", 9)])
def test_joblib_files_of_any_compression_are_read(tmp_path: Path, compress: Any) -> None:
    """Also those that a user wrote with joblib itself, by hand."""
    model = SVC().fit(IRIS.data, IRIS.target)
    joblib.dump(model, tmp_path / "model.pkl", compress=compress)
    loaded = SklearnModelArtifact("model").load(tmp_path).get()
    np.testing.assert_array_equal(loaded.decision_function(IRIS.data), model.decision_function(IRIS.data))
    assert {"sklearn", "numpy", "joblib"} <= modules_named_by(tmp_path / "model.pkl")


def test_a_plain_pickle_under_the_same_name_is_read(tmp_path: Path) -> None:
    """A file of pickle.dump is a joblib file without arrays laid apart."""
    import pickle

    model = SVC().fit(IRIS.data, IRIS.target)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    loaded = SklearnModelArtifact("model").load(tmp_path).get()
    np.testing.assert_array_equal(loaded.predict(IRIS.data), model.predict(IRIS.data))


def test_an_attribute_that_is_gone_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of the code: BundleError with the artifact, the file and what to install, the cause kept."""
    packed(Homegrown()).save_model(tmp_path)
    monkeypatch.delitem(globals(), "Homegrown")
    with pytest.raises(
        BundleError, match=r"SklearnModelArtifact 'model'.*model\.pkl.*Homegrown.*requirements"
    ) as caught:
        SklearnModelArtifact("model").load(tmp_path)
    assert isinstance(caught.value.__cause__, AttributeError)
