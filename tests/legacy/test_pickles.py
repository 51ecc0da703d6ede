"""Tests of models that cannot be loaded here: the message says what wrote them, and what to install."""

from __future__ import annotations

import gzip
import pickle
import platform
import types
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import sklearn
from sklearn.linear_model import LinearRegression

from bentobatch.bundle.load import load
from bentobatch.errors import BundleError, MissingDependencyError
from bentobatch.legacy.advice import pinned_versions
from tests.legacy.layout import SERVICE, write_bundle

HERE = platform.python_version()
OTHER = "3.8.18" if not HERE.startswith("3.8.") else "3.7.1"
SKLEARN_SERVICE = SERVICE.replace("service.artifacts.common", "frameworks.sklearn").replace("Pickle", "SklearnModel")


def text(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def named(module: str, name: str, tail: bytes = b"") -> bytes:
    """The pickle of a call of ``name`` in ``module``, without arguments."""
    return b"\x80\x04" + text(module) + text(name) + b"\x93)R" + tail + b"."


def old_model(folder: Path, model: bytes, *, service: str = SERVICE, requirements: str | None = None) -> Path:
    root = write_bundle(folder / "old", service, model=model, python=OTHER)
    if requirements is not None:
        (root / "requirements.txt").write_text(requirements)
    return root


def failure(root: Path, kind: type[Exception] = BundleError) -> str:
    with pytest.raises(kind) as caught:
        load(root)
    message = str(caught.value)
    assert "\n" not in message
    assert str(root) in message
    return message


def test_a_module_that_today_s_library_has_no_more_names_library_versions_and_cure(tmp_path: Path) -> None:
    """scikit-learn before 0.22 had sklearn.svm.classes; the pin of requirements.txt is what to install."""
    root = old_model(tmp_path, named("sklearn.svm.classes", "SVC"), service=SKLEARN_SERVICE)
    message = failure(root)
    assert "SklearnModelArtifact 'model' cannot be loaded here (ModuleNotFoundError: No module named" in message
    assert f"written with scikit-learn 0.24.2 on Python {OTHER}" in message
    assert f"here is scikit-learn {sklearn.__version__} on Python {HERE}" in message
    assert "; pip install scikit-learn==0.24.2, with Python 3." in message


def test_a_class_that_the_library_has_no_more_does_too(tmp_path: Path) -> None:
    """An attribute that is gone."""
    root = old_model(tmp_path, named("sklearn.svm", "NoSuchModel"), service=SKLEARN_SERVICE)
    assert "AttributeError" in failure(root)
    assert "pip install scikit-learn==0.24.2" in failure(root)


@pytest.mark.parametrize("packed", [False, True])
def test_the_version_in_the_model_itself_counts_more_than_the_pin(packed: bool, tmp_path: Path) -> None:
    """Requirements may lack scikit-learn (D23), or hold another version; every estimator keeps the one that wrote it."""
    data = pickle.dumps(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), protocol=4)
    version = sklearn.__version__.encode()
    old = data.replace(bytes([len(version)]) + version, bytes([len(version)]) + b"0.18.1"[: len(version)])
    assert old != data
    broken = old.replace(b"LinearRegression", b"LinearRegressXon")
    model = gzip.compress(broken) if packed else broken
    root = old_model(tmp_path, model, service=SKLEARN_SERVICE, requirements="bentoml==0.13.1\n")
    (root / "bentoml.yml").write_text((root / "bentoml.yml").read_text().replace("  - scikit-learn==0.24.2\n", ""))
    message = failure(root)
    assert f"written with scikit-learn {'0.18.1'[: len(version)]} on Python" in message
    assert f"pip install scikit-learn=={'0.18.1'[: len(version)]}" in message


def test_a_version_that_stands_nowhere_is_said_to_stand_nowhere(tmp_path: Path) -> None:
    """No version is made up."""
    root = old_model(tmp_path, named("sklearn.svm.classes", "SVC"), service=SKLEARN_SERVICE, requirements="")
    (root / "bentoml.yml").write_text((root / "bentoml.yml").read_text().replace("  - scikit-learn==0.24.2\n", ""))
    assert "scikit-learn (its version stands nowhere in the bundle)" in failure(root)
    assert "pip install scikit-learn, with" in failure(root)


def test_a_library_that_is_not_installed_is_named_with_its_pin(tmp_path: Path) -> None:
    """Exit 2, as any missing library; the pin tells which release."""
    root = old_model(
        tmp_path, named("no_such_library.models", "Model"), requirements="No-Such_Library == 1.2.3  # here\n"
    )
    message = failure(root, MissingDependencyError)
    assert "no-such-library 1.2.3 on Python" in message
    assert "here is no no-such-library on Python" in message
    assert "pip install no-such-library==1.2.3" in message


def test_other_pins_of_the_pickle_that_differ_here_are_installed_along(tmp_path: Path) -> None:
    """numpy's pin is part of the cure where the pickle names numpy and another one is installed."""
    tail = text("numpy") + text("ndarray") + b"\x93\x86"
    root = old_model(
        tmp_path,
        named("sklearn.svm.classes", "SVC", tail),
        service=SKLEARN_SERVICE,
        requirements="scikit-learn==0.24.2\nnumpy==1.19.5\n",
    )
    # the unpickler stops at the missing module; the names are read without running anything
    assert "pip install scikit-learn==0.24.2 numpy==1.19.5" in failure(root)


def test_byte_code_of_another_python_is_refused_and_never_run(tmp_path: Path) -> None:
    """BentoML's cloudpickle stored functions and classes of __main__ by value: that code would crash this interpreter."""
    forms = [
        b"\x80\x04" + text("bentoml.utils.cloudpickle") + text(name) + b"\x93)R."
        for name in ("_make_skel_func", "_fill_function")
    ]
    forms.append(
        b"\x80\x04"
        + text("bentoml.utils.cloudpickle")
        + text("_builtin_type")
        + b"\x93"
        + text("CodeType")
        + b"\x85R)R."
    )
    forms.append(
        b"\x80\x04" + text("cloudpickle.cloudpickle") + text("_builtin_type") + b"\x93" + text("CodeType") + b"\x85R)R."
    )
    for number, form in enumerate(forms):
        message = failure_of_code(old_model(tmp_path / str(number), form))
        assert f"byte code of Python {OTHER}" in message
        assert f"load it with Python {'.'.join(OTHER.split('.')[:2])}" in message


def failure_of_code(root: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load(root)
    return str(caught.value)


def test_byte_code_of_this_python_runs_and_imports_the_bundles_own(tmp_path: Path) -> None:
    """A function that today's cloudpickle stored by value, in a bundle of the same Python, sees the bundle's modules."""
    module = types.ModuleType("__main__")
    source = (
        "def scale(x):\n    import bentoml\n    from helper import FACTOR\n    return x * FACTOR, bentoml.__version__\n"
    )
    exec(source, vars(module))
    data = cloudpickle.dumps(module.scale)
    root = write_bundle(tmp_path / "old", model=data, python=HERE, files={"helper.py": "FACTOR = 3\n"})
    assert load(root).artifacts.model(2) == (6, "0.13.1")


def test_a_missing_or_damaged_file_is_told_as_such(tmp_path: Path) -> None:
    """No advice where no library is to blame; a refused pickle stays refused."""
    root = write_bundle(tmp_path / "old")
    with pytest.raises(BundleError, match="pickles are refused here"):
        load(root, allow_pickle=False)
    (root / "Doubler" / "artifacts" / "model.pkl").unlink()
    with pytest.raises(BundleError, match=r"the file .*model\.pkl is missing"):
        load(root)


def test_a_module_of_the_bundle_itself_that_is_missing_is_no_matter_of_pip(tmp_path: Path) -> None:
    """A pickle that names a class which the bundle's own module has not."""
    root = old_model(tmp_path, named("helper", "Gone"))
    (root / "Doubler" / "helper.py").write_text("")
    with pytest.raises(BundleError) as caught:
        load(root)
    assert "pip install" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "pins"),
    [
        ("scikit_learn==0.24.2", {"scikit-learn": "0.24.2"}),
        ("torch===1.8.0+cpu", {"torch": "1.8.0+cpu"}),
        ("xgboost[dask] == 1.0.2 ; python_version > '3'", {"xgboost": "1.0.2"}),
        ("numpy>=1.0", {}),
        ("--index-url=https://example.org", {}),
        ("# numpy==1.0", {}),
        ("git+https://example.org/x.git@v1", {}),
        ("", {}),
    ],
)
def test_pins_are_read_as_pip_reads_them(line: str, pins: dict[str, Any]) -> None:
    """Only what names one version of one distribution."""
    assert pinned_versions([line]) == pins
