"""Models in a process of another Python: here that of the tests, which is as good as an older one for it."""

from __future__ import annotations

import ast
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bentobatch.errors import BundleError
from bentobatch.frameworks import hosted_models, model_values
from bentobatch.frameworks.hosted_models import HostedModel, ModelHost

MODULE = """
import os

class Model:
    scale = 3
    names = {"a": [1, 2]}

    def __init__(self):
        self.inner = Inner()
        self.steps = [("first", Inner()), ("second", 7)]

    def predict(self, frame, times=1):
        if (frame["x"] < 0).any():
            raise ValueError("negative")
        return frame["x"].to_numpy() * self.scale * times

    def __len__(self):
        return 2

    def die(self):
        os._exit(3)

    def where(self):
        return os.getpid()

    def other(self):
        return Inner()

    def odd(self):
        raise OddError(1, 2)

    def echo(self, value):
        return value


class OddError(KeyError):
    def __init__(self, a, b):
        super().__init__(f"odd {a} {b}")


class Inner:
    value = 5

    def __call__(self, number):
        return number + 1
"""


@pytest.fixture(scope="module")
def host() -> Iterator[ModelHost]:
    made = ModelHost(sys.executable)
    yield made
    made.close()


@pytest.fixture(scope="module")
def model(host: ModelHost, tmp_path_factory: pytest.TempPathFactory) -> HostedModel:
    """The stand-in of a model of a class that this process cannot import."""
    folder = tmp_path_factory.mktemp("hosted")
    import cloudpickle

    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(MODULE, "model", "exec"), scope)
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(scope["Model"]()))
    return host.load(folder / "model.pkl", "PickleArtifact 'model'")


def test_a_call_goes_there_and_its_value_comes_back(model: HostedModel) -> None:
    """With its arguments, by position and by name."""
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    assert model.predict(frame).tolist() == [3.0, 6.0]
    assert model.predict(frame, times=2).tolist() == [6.0, 12.0]
    assert model.where() != __import__("os").getpid()


def test_attributes_and_items_are_values_or_stand_ins(model: HostedModel) -> None:
    """Also those inside of lists; what is not there is an AttributeError, as hasattr wants it."""
    assert model.scale == 3
    assert model.names == {"a": [1, 2]}
    assert model.inner.value == 5
    assert model.inner(1) == 2
    assert model.steps[0][0] == "first"
    assert model.steps[0][1].value == 5
    assert model.steps[1] == ("second", 7)
    assert not hasattr(model, "classes_")
    assert len(model) == 2
    assert bool(model)


def test_what_it_raises_is_raised_here(model: HostedModel) -> None:
    """As the nearest built-in exception, with its own traceback as the cause."""
    with pytest.raises(ValueError, match=r"^negative$") as caught:
        model.predict(pd.DataFrame({"x": [-1.0]}))
    assert "in predict" in str(caught.value.__cause__)
    with pytest.raises(KeyError, match="OddError: 'odd 1 2'"):
        model.odd()


def test_a_process_that_dies_costs_one_call(model: HostedModel) -> None:
    """The next one finds the models loaded again."""
    before = model.where()
    with pytest.raises(RuntimeError, match="ended by itself with status 3"):
        model.die()
    assert model.where() != before
    assert model.scale == 3


def test_what_has_no_form_says_so(model: HostedModel) -> None:
    """A result that is an object of its own, an argument of such, and the stand-in itself in a pickle."""
    with pytest.raises(TypeError, match=r"an? Inner cannot be passed"):
        model.other()
    with pytest.raises(TypeError, match="a function cannot be passed"):
        model.echo(lambda: 1)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(model)
    assert sys.executable in repr(model)


def test_a_model_that_cannot_be_loaded_there_is_an_error_of_the_bundle(host: ModelHost, tmp_path: Path) -> None:
    """With the reason that there was."""
    (tmp_path / "broken.pkl").write_bytes(b"no pickle")
    with pytest.raises(BundleError, match=r"PickleArtifact 'm' cannot be loaded by .*: \w+"):
        host.load(tmp_path / "broken.pkl", "PickleArtifact 'm'")
    with pytest.raises(BundleError, match="FileNotFoundError"):
        ModelHost("/no/such/python").load(tmp_path / "broken.pkl", "it")


@pytest.mark.parametrize(
    "value",
    [
        None, True, 7, 2**80, 1.5, float("inf"), "text", b"bytes", [1, [2.0, None]], (1, "a"), {"a": 1, 2: (3,)},
        np.float32(1.5), np.int64(7), np.datetime64("2024-01-02"),
    ],
    ids=str,
)  # fmt: skip
def test_values_come_back_as_they_were(model: HostedModel, value: Any) -> None:
    """With their types."""
    back = model.echo(value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="int8").reshape(2, 3), np.array([1.5, np.nan]), np.array(["a", "bc"]), np.array([], "float32"),
        np.array([1, "a", None], object), np.array(["2024-01-02"], "datetime64[ns]"), np.asfortranarray(np.eye(3)),
        np.array(5.0),
    ],
    ids=str,
)  # fmt: skip
def test_arrays_come_back_as_they_were(model: HostedModel, array: Any) -> None:
    """In dtype, shape and values; they may be changed."""
    back = model.echo(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    back[...] = array


def test_frames_and_sparse_matrices_come_back_as_they_were(model: HostedModel) -> None:
    """Columns that numpy does not know are objects, with None for what is missing."""
    frame = pd.DataFrame({"a": [1, 2], "b": [1.5, None], 3: ["x", None]})
    frame["c"] = pd.array([1, None], dtype="Int64")
    back = model.echo(frame)
    assert back.columns.tolist() == ["a", "b", 3, "c"]
    assert back["a"].dtype == "int64"
    assert back[3].tolist()[0] == "x"
    assert pd.isna(back["c"].tolist()[1])
    series = model.echo(pd.Series([1.0, 2.0], name="s"))
    assert (series.name, series.tolist()) == ("s", [1.0, 2.0])
    from scipy import sparse

    matrix = sparse.csr_matrix(np.eye(3))
    assert (model.echo(matrix) != matrix).nnz == 0


@pytest.mark.parametrize("module", [model_values, Path(hosted_models.__file__).with_name("model_host.py")], ids=str)
def test_what_runs_in_an_older_python_has_its_syntax(module: Any) -> None:
    """That of 3.7."""
    path = module if isinstance(module, Path) else Path(module.__file__)
    ast.parse(path.read_text(), feature_version=(3, 7))
