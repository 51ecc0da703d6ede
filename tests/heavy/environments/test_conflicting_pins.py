"""The real case: two scikit-learns that exclude each other, from an index, in one process. It needs a network."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import bentobatch

OLD, NEW = "1.5.2", "1.7.2"
SERVICE = """
import bentobatch
from bentobatch.adapters import DataframeInput
from bentobatch.frameworks.sklearn import SklearnModelArtifact


@bentobatch.env(pip_packages=["scikit-learn=={version}"])
@bentobatch.artifacts([SklearnModelArtifact("model")])
class {name}(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput(columns=["a", "b"]), batch=True)
    def predict(self, df):
        import sklearn
        return df.assign(value=self.artifacts.model.transform(df)["a"], by=sklearn.__version__)[["value", "by"]]
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # scikit-learn tells of every other version than its own
def test_two_scikit_learns_score_from_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bundle names its own; this process has a third."""
    from sklearn.preprocessing import FunctionTransformer

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,4\n")
    found = {}
    for name, version in (("OldPins", OLD), ("NewPins", NEW)):
        (tmp_path / f"{name.lower()}.py").write_text(SERVICE.format(name=name, version=version))
        service = getattr(importlib.import_module(name.lower()), name)()
        service.pack("model", FunctionTransformer())
        service.save_to_dir(str(tmp_path / name))
        output = tmp_path / f"{name}.parquet"
        bentobatch.run(tmp_path / name, input_file=tmp_path / "x.csv", output_file=output, env="bundle")
        found[version] = pq.read_table(output).to_pylist()
        sys.modules.pop(name.lower())
    assert found == {version: [{"value": 1, "by": version}, {"value": 3, "by": version}] for version in (OLD, NEW)}
