"""This module holds what --no-pickle promises for every type of artifact: no pickle runs, whatever it is called (S05).

class TestThing(PlainSuite):       # or PickledSuite, for a type that stores pickles
    kind = "ThingModelArtifact"
    def make_model(self): return Thing()
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import io
import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import bentobatch
from bentobatch.bundle.manifest import read_manifest
from bentobatch.cli.main import main
from bentobatch.errors import BundleError
from tests.bundle.projects import project
from tests.bundle.test_load import resealed

OTHER_NAMES = frozenset(
    f"model{suffix}"
    for suffix in (
        *(
            "",
            ".bin",
            ".cbm",
            ".dill",
            ".ftz",
            ".h5",
            ".joblib",
            ".json",
            ".keras",
            ".kind.json",
            ".kinds.json",
            ".mlmodel",
        ),
        *(".model", ".mojo", ".npy", ".onnx", ".onnx.data", ".pdiparams", ".pdmodel", ".pickle", ".pkl", ".pt", ".pt2"),
        *(".pth", ".skops", ".state.pt", ".txt", ".ubj", ".weights.h5", ".zip", "_custom_objects.pkl", "_json.json"),
        *("_weights.hdf5", "_saved_model/saved_model.pb", "_transformers/model/pytorch_model.bin", "_mlflow/model.pkl"),
    )
)
"""Names that the types and other libraries, BentoML 0.13 among them, give to models."""

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


class Canary:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def canaries(path: Path) -> dict[str, bytes]:
    """The forms in which a pickle may lie in a file."""
    packed, stream = pickle.dumps(Canary(path)), io.BytesIO()
    dump = importlib.import_module("joblib").dump if importlib.util.find_spec("joblib") else pickle.dump
    dump({"x": Canary(path)}, stream)
    return {"pickle": packed, "joblib": stream.getvalue(), "compressed": gzip.compress(packed)}


def plant(bundle: Path, files: Mapping[str, bytes], *, instead_of: Collection[str] = ()) -> None:
    """Put files among the artifacts, in place of others, and give the manifest a digest that fits."""
    folder = bundle / "Service/artifacts"
    entries = dict(read_manifest(bundle).files)
    for name in instead_of:
        (folder / name).unlink()
        del entries[f"Service/artifacts/{name}"]
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        entries[f"Service/artifacts/{name}"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    resealed(bundle, files=entries)


class NoPickleSuite(ABC):
    """What holds for every type. ``auxiliary`` are files that the library may do without, or does not read."""

    kind: ClassVar[str]
    auxiliary: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def make_model(self) -> Any:
        """A small model, to be packed."""

    def saved(self, tmp_path: Path) -> tuple[Path, set[str]]:
        """A bundle with an artifact of the type, and the names of the files that the artifact wrote."""
        with project(tmp_path / "p", {"service.py": SERVICE.format(name=self.kind)}) as module:
            bundle = Path(module.Service().pack("model", self.make_model()).save_to_dir(tmp_path / "b"))
        folder = bundle / "Service/artifacts"
        return bundle, {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    @pytest.mark.parametrize("form", ["pickle", "joblib", "compressed"])
    def test_a_pickle_under_every_name_that_the_type_reads_is_refused(
        self, form: str, tmp_path: Path, capfd: Any
    ) -> None:
        """One name after the other, and all of them at once: by the Python API, and by the command line with exit 65."""
        canary = tmp_path / "canary"
        bundle, names = self.saved(tmp_path)
        assert names
        originals = {own: (bundle / "Service/artifacts" / own).read_bytes() for own in names}
        for own in sorted(names):
            plant(bundle, {**originals, own: canaries(canary)[form]})
            with contextlib.suppress(BundleError) if own in self.auxiliary else pytest.raises(BundleError):
                bentobatch.load(bundle, allow_pickle=False)
            assert not canary.exists()
        plant(bundle, dict.fromkeys(names, canaries(canary)[form]))
        with pytest.raises(BundleError):
            bentobatch.load(bundle, allow_pickle=False)
        if form == "pickle":
            capfd.readouterr()
            assert main(["run", str(bundle), "--no-pickle", "--input", "1"]) == 65
            assert capfd.readouterr().out == ""
        assert not canary.exists()

    def test_nothing_falls_back_to_a_pickle_of_another_name(self, tmp_path: Path) -> None:
        """The own files are missing, and pickles lie beside, under the names of all types and of other libraries."""
        canary = tmp_path / "canary"
        bundle, names = self.saved(tmp_path)
        plant(bundle, dict.fromkeys(OTHER_NAMES - names - {"model"}, canaries(canary)["pickle"]), instead_of=names)
        with pytest.raises(BundleError):
            bentobatch.load(bundle, allow_pickle=False)
        assert not canary.exists()


class PlainSuite(NoPickleSuite):
    """A type that stores no pickle."""

    def test_it_never_runs_a_pickle(self, tmp_path: Path) -> None:
        """Also where pickles are allowed."""
        canary = tmp_path / "canary"
        bundle, names = self.saved(tmp_path)
        for data in canaries(canary).values():
            plant(bundle, dict.fromkeys(names, data))
            with pytest.raises(BundleError):
                bentobatch.load(bundle)
        assert not canary.exists()

    def test_a_sound_bundle_runs_with_no_pickle(self, tmp_path: Path, capfd: Any) -> None:
        """The switch costs nothing where there is no pickle."""
        bundle, _ = self.saved(tmp_path)
        capfd.readouterr()
        assert main(["run", str(bundle), "--no-pickle", "--input", "1", "--quiet"]) == 0
        assert capfd.readouterr().out == '{"prediction":1}\n'


class PickledSuite(NoPickleSuite):
    """A type that stores pickles, or does for this model."""

    def test_the_canary_sings_where_pickles_are_allowed(self, tmp_path: Path) -> None:
        """So that the tests above can fail; and the types that say they use pickle do."""
        canary = tmp_path / "canary"
        bundle, names = self.saved(tmp_path)
        plant(bundle, dict.fromkeys(names, canaries(canary)["pickle"]))
        with contextlib.suppress(BundleError):  # what makes a folder is no model
            bentobatch.load(bundle)
        assert canary.exists()
