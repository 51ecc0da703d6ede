"""This module tests --no-pickle against every type of artifact: no pickle runs, whatever it is called (S05).

A type that is added to the tables fails here until it is given a model.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

import bentobatch
from bentobatch.bundle.manifest import read_manifest
from bentobatch.cli.main import main
from bentobatch.errors import BundleError
from bentobatch.plugins import TABLES, find
from tests.bundle.projects import project
from tests.bundle.test_load import resealed

TYPES = sorted(TABLES["frameworks"])
OTHER_NAMES = (
    "model.model",
    "model.joblib",
    "model.pickle",
    "model.dill",
    "model.bin",
    "model.pt",
    "model.npy",
    "model",
)
"""Names that other libraries, BentoML 0.13 among them, give to pickles."""

SERVICE = """
import bentobatch
from bentobatch.adapters import JsonInput
from bentobatch.plugins import find

@bentobatch.artifacts([find("frameworks", {name!r})("model")])
class Service(bentobatch.BentoService):
    @bentobatch.api(input=JsonInput(), batch=True)
    def predict(self, values):
        return values
"""


def sklearn_model() -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])


def xgboost_model() -> Any:
    import xgboost

    return xgboost.XGBRegressor(n_estimators=2, n_jobs=1).fit(np.arange(8.0).reshape(4, 2), np.arange(4.0))


def lightgbm_model() -> Any:
    import lightgbm

    data = lightgbm.Dataset(np.arange(80.0).reshape(40, 2), np.arange(40.0))
    return lightgbm.train({"verbose": -1, "num_threads": 1}, data, 2)


MODELS: dict[str, Callable[[], Any]] = {
    "SklearnModelArtifact": sklearn_model,
    "XgboostModelArtifact": xgboost_model,
    "LightGBMModelArtifact": lightgbm_model,
    "PickleArtifact": lambda: {"a": 1},
    "JSONArtifact": lambda: {"a": 1},
    "TextFileArtifact": lambda: "text",
}


class Canary:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def canaries(path: Path) -> dict[str, bytes]:
    """The forms in which a pickle may lie in a file."""
    import gzip
    import io

    stream = io.BytesIO()
    joblib.dump({"x": Canary(path)}, stream)
    packed = pickle.dumps(Canary(path))
    return {"pickle": packed, "joblib": stream.getvalue(), "compressed": gzip.compress(packed)}


def saved(name: str, tmp_path: Path) -> tuple[Path, set[str]]:
    """A bundle with an artifact of the type, and the names of the files that the artifact wrote."""
    with project(tmp_path / "p", {"service.py": SERVICE.format(name=name)}) as module:
        bundle = Path(module.Service().pack("model", MODELS[name]()).save_to_dir(tmp_path / "b"))
    return bundle, {path.name for path in (bundle / "Service/artifacts").iterdir()}


def plant(bundle: Path, files: dict[str, bytes], *, instead_of: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Put files among the artifacts, in place of others, and give the manifest a digest that fits."""
    folder = bundle / "Service/artifacts"
    entries = dict(read_manifest(bundle).files)
    for name in instead_of:
        (folder / name).unlink()
        del entries[f"Service/artifacts/{name}"]
    for name, data in files.items():
        (folder / name).write_bytes(data)
        entries[f"Service/artifacts/{name}"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    resealed(bundle, files=entries)


def refused(bundle: Path, canary: Path, capfd: Any) -> None:
    """By the Python API, and by the command line with exit 65; the canary stays silent."""
    with pytest.raises(BundleError):
        bentobatch.load(bundle, allow_pickle=False)
    assert main(["run", str(bundle), "--no-pickle", "--input", "1"]) == 65
    assert capfd.readouterr().out == ""
    assert not canary.exists()


def test_every_type_has_a_model_here() -> None:
    """So that none is forgotten."""
    assert set(MODELS) == set(TYPES)


@pytest.mark.parametrize("form", ["pickle", "joblib", "compressed"])
@pytest.mark.parametrize("name", TYPES)
def test_a_pickle_under_every_name_that_a_type_reads_is_refused(
    name: str, form: str, tmp_path: Path, capfd: Any
) -> None:
    """One name after the other, and all of them at once."""
    canary = tmp_path / "canary"
    bundle, names = saved(name, tmp_path)
    assert names
    originals = {own: (bundle / "Service/artifacts" / own).read_bytes() for own in names}
    for own in sorted(names):
        plant(bundle, {**originals, own: canaries(canary)[form]})
        with pytest.raises(BundleError):
            bentobatch.load(bundle, allow_pickle=False)
        assert not canary.exists()
    plant(bundle, dict.fromkeys(names, canaries(canary)[form]))
    if form == "pickle":
        refused(bundle, canary, capfd)


@pytest.mark.parametrize("name", TYPES)
def test_nothing_falls_back_to_a_pickle_of_another_name(name: str, tmp_path: Path) -> None:
    """The own files are missing, and pickles lie beside, under the names of all types and of other libraries."""
    canary = tmp_path / "canary"
    others: set[str] = set(OTHER_NAMES)
    for number, kind in enumerate(TYPES):
        others |= saved(kind, tmp_path / str(number))[1]
    bundle, names = saved(name, tmp_path)
    plant(bundle, dict.fromkeys(others - names, canaries(canary)["pickle"]), instead_of=names)
    with pytest.raises(BundleError):
        bentobatch.load(bundle, allow_pickle=False)
    assert not canary.exists()


@pytest.mark.parametrize("name", [name for name in TYPES if not find("frameworks", name).uses_pickle])
def test_a_type_that_is_no_pickle_never_runs_one(name: str, tmp_path: Path) -> None:
    """Also where pickles are allowed."""
    canary = tmp_path / "canary"
    bundle, names = saved(name, tmp_path)
    for data in canaries(canary).values():
        plant(bundle, dict.fromkeys(names, data))
        with pytest.raises(BundleError):
            bentobatch.load(bundle)
    assert not canary.exists()
    plant(bundle, dict.fromkeys(set(OTHER_NAMES) - names, canaries(canary)["pickle"]), instead_of=names)
    with pytest.raises(BundleError):
        bentobatch.load(bundle)
    assert not canary.exists()


@pytest.mark.parametrize("name", [name for name in TYPES if find("frameworks", name).uses_pickle])
def test_the_canary_sings_where_pickles_are_allowed(name: str, tmp_path: Path) -> None:
    """So that the tests above can fail; and the types that say they use pickle do."""
    canary = tmp_path / "canary"
    bundle, names = saved(name, tmp_path)
    plant(bundle, dict.fromkeys(names, canaries(canary)["pickle"]))
    bentobatch.load(bundle)
    assert canary.exists()


@pytest.mark.parametrize("name", [name for name in TYPES if not find("frameworks", name).uses_pickle])
def test_a_sound_bundle_without_pickles_runs_with_no_pickle(name: str, tmp_path: Path, capfd: Any) -> None:
    """The switch costs nothing where there is no pickle."""
    bundle, _ = saved(name, tmp_path)
    assert main(["run", str(bundle), "--no-pickle", "--input", "1", "--quiet"]) == 0
    assert capfd.readouterr().out == '{"prediction":1}\n'
