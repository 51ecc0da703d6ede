"""Fixtures that several rooms' tests share: a home folder of its own, and bundles saved once per session."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

SERVICES = '''
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import bentobatch
from bentobatch import InferenceError, InferenceResult, Retryable
from bentobatch.adapters import ArrowInput, DataframeInput, JsonInput, StringInput
from bentobatch.frameworks.pickle import PickleArtifact


def is_measured(frame):
    """Whether planning calls the api to learn its cost, as it does where a first call was slow: on a busy machine, too."""
    while frame is not None and frame.f_globals.get("__name__") != "bentobatch.engine.cost":
        frame = frame.f_back
    return frame is not None


class LinearModel:
    """What scikit-learn's LinearRegression is to a bundle, without its import: these tests start many processes."""

    feature_names_in_ = np.array(["x0", "x1", "x2"], dtype=object)
    n_features_in_ = 3

    def predict(self, df):
        return df.to_numpy() @ np.array([1.0, -2.0, 0.5])


@bentobatch.artifacts([PickleArtifact("model")])
class Linear(bentobatch.BentoService):
    """Knows its features by its model."""

    @bentobatch.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        trace = os.environ.get("BENTOBATCH_TEST_TRACE")
        if trace:  # how many rows were scored, told to the test by a file that grows
            with open(trace, "a") as file:
                file.write(f"{os.getpid()} {len(df)}{' measured' * is_measured(sys._getframe())}\\n")
        time.sleep(float(os.environ.get("BENTOBATCH_TEST_SLEEP", "0")))
        return self.artifacts.model.predict(df)

    @bentobatch.api(input=DataframeInput(), batch=True)
    def both(self, df):
        return df.assign(double=df["x0"] * 2)[["double", "x1"]]

    @bentobatch.api(input=ArrowInput(columns=["x0"]), batch=True)
    def arrow(self, batch):
        return batch.column("x0")


@bentobatch.artifacts([PickleArtifact("weights")])
class Picky(bentobatch.BentoService):
    """Misbehaves as the rows ask it to."""

    @bentobatch.api(input=DataframeInput(columns=["x0", "x1"]), batch=True)
    def predict(self, df):
        if (df["x0"] == -1).any():
            raise ValueError("x0 is -1")
        if (df["x0"] == -2).any():
            os._exit(0)
        if (df["x0"] == -3).any():
            sys.exit(0)
        if (df["x0"] == -4).any():
            return df["x0"].iloc[:-1]
        if (df["x0"] == -5).any():
            raise Retryable("the feature store is down")
        if (df["x0"] == -6).any():
            raise ConnectionError("no route to host")
        if (df["x0"] == -7).any():
            time.sleep(60)
        if (df["x0"] == -8).any():
            return df["x0"].astype(str)
        if (df["x0"] == -9).any():
            flag = Path(os.environ["BENTOBATCH_TEST_FLAG"])
            if not flag.exists():
                flag.write_text("failed once")
                raise ConnectionError("no route to host")
        return df["x0"] * self.artifacts.weights["a"] + df["x1"]

    @bentobatch.api(input=JsonInput(), batch=True)
    def discarding(self, values, tasks):
        kept = []
        for value, task in zip(values, tasks):
            if "x0" in value:
                kept.append(value)
            else:
                task.discard("x0 is missing", http_status=400)
        return [value["x0"] * 2 for value in kept]

    @bentobatch.api(input=JsonInput())
    def single(self, value):
        if value["x0"] == -1:
            raise ValueError("x0 is -1")
        if value["x0"] == -2:
            return InferenceError(err_msg="not today")
        return InferenceResult(data=value["x0"] + 1)

    @bentobatch.api(input=StringInput(), batch=True)
    def shout(self, texts):
        return [text.upper() for text in texts]

    @bentobatch.api(input=DataframeInput(columns=["x0", "x1"]), batch=True, row_independent=False)
    def ranks(self, df):
        if (df["x0"] == -1).any():
            raise ValueError("x0 is -1")
        return df["x0"].rank()

    @bentobatch.api(input=DataframeInput(columns=["x0", "x1"], dtype={"x0": "float64", "x1": "float64"}), batch=True)
    def numbers(self, df):
        return df["x0"] + df["x1"]

    @bentobatch.api(input=DataframeInput(columns=["x0", "x1"]), batch=True)
    def warning(self, df):
        with warnings.catch_warnings():  # as libraries do; it makes Python forget what it has shown
            warnings.simplefilter("default")
        warnings.warn("beware")
        print("printed by the model")
        return df["x0"]

    @bentobatch.api(input=DataframeInput(columns=["x0", "x1"]), batch=True)
    def broken(self, df):
        raise RuntimeError("the model is broken")
'''


@pytest.hookimpl(tryfirst=True)  # pytest-xdist looks at the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a costly thing (a JVM, a cluster, Airflow's database) run in one process, one after the other."""
    folder = Path(__file__).parent / "integrations"
    for item in items:
        if item.path.is_relative_to(folder) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(folder).parts[0]))


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the developer's own repository."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("BENTOBATCH_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the bundles ``linear`` (features x0, x1, x2; knows their names) and ``picky`` (x0, x1)."""
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "bentobatch_test_services.py").write_text(SERVICES)
    sys.path.insert(0, str(folder))
    try:
        services = importlib.import_module("bentobatch_test_services")
        linear = services.Linear()
        linear.pack("model", services.LinearModel())
        linear.save_to_dir(str(folder / "linear"))
        picky = services.Picky()
        picky.pack("weights", {"a": 3.0})
        picky.save_to_dir(str(folder / "picky"))
        yield folder
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("bentobatch_test_services", None)


def feature_frame(rows: int, seed: int = 7):  # type: ignore[no-untyped-def]
    """``rows`` rows of x0, x1 and x2, the same for the same seed."""
    import pandas as pd

    return pd.DataFrame(np.random.default_rng(seed).normal(size=(rows, 3)), columns=["x0", "x1", "x2"])


def rows_scored(trace: Path) -> int:
    """The rows that the api was called with, but for calls that measured it: these depend on how busy the machine is."""
    lines = [line.split() for line in trace.read_text().splitlines()] if trace.exists() else []
    return sum(int(rows) for _, rows, *measured in lines if not measured)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test prints or logs may hold undecodable file names, which cannot travel from a test process to the one
    that collects the reports."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
