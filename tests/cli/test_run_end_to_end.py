"""Tests of the whole program with the real engine: a user's project, its bundles, and ``bentobatch run`` over files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets, svm

ROOT = Path(__file__).resolve().parents[2]

SERVICES = """
import os
import sys
import time
import warnings

import bentobatch
from bentobatch.adapters import DataframeInput, JsonInput
from bentobatch.frameworks.json import JSONArtifact
from bentobatch.frameworks.sklearn import SklearnModelArtifact

COLUMNS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


@bentobatch.env(infer_pip_packages=True)
@bentobatch.artifacts([SklearnModelArtifact("model")])
class IrisClassifier(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        return self.artifacts.model.predict(df)


@bentobatch.artifacts([SklearnModelArtifact("model")])
class DeclaredColumns(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput(columns=COLUMNS), batch=True)
    def predict(self, df):
        return self.artifacts.model.predict(df.to_numpy())


@bentobatch.artifacts([SklearnModelArtifact("model")])
class UndeclaredColumns(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        return self.artifacts.model.predict(df.to_numpy())


@bentobatch.artifacts([JSONArtifact("model")])
class Doubling(bentobatch.BentoService):
    @bentobatch.api(input=JsonInput(), batch=True)
    def predict(self, numbers):
        return [number * self.artifacts.model["factor"] for number in numbers]


@bentobatch.artifacts([JSONArtifact("model")])
class Manners(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def noisy(self, df):
        print("printed by the model")
        os.write(1, b"written by a library\\n")
        warnings.warn("a warning of the model")
        return df["x"] * 2

    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def leaves(self, df):
        os._exit(0)

    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def slow(self, df):
        time.sleep(0.5)
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(f"{int(df['x'].iloc[0])}\\n")
        return df["x"] * 2

    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def picky(self, df):
        if (df["x"] < 0).any():
            raise ValueError("a negative number")
        return df["x"] * 2
"""

TRAIN = """
import bentobatch
from sklearn import datasets, svm
from services import DeclaredColumns, Doubling, IrisClassifier, Manners, UndeclaredColumns

iris = datasets.load_iris(as_frame=True)
named = svm.SVC(gamma="scale").fit(iris.data, iris.target)
bare = svm.SVC(gamma="scale").fit(iris.data.to_numpy(), iris.target)

svc = IrisClassifier()
svc.pack("model", named, metadata={"accuracy": 0.97})
assert list(svc.predict(iris.data[:1])) == [0]
path = svc.save_to_dir("bundles/iris")
svc.save()
assert list(bentobatch.load(path).predict(iris.data[:1])) == [0]
for cls, model in ((DeclaredColumns, bare), (UndeclaredColumns, bare), (Manners, {}), (Doubling, {"factor": 2})):
    svc = cls()
    svc.pack("model", model)
    svc.save_to_dir("bundles/" + cls.__name__)
"""


@dataclass
class Done:
    """What a finished command left."""

    code: int
    out: str
    err: str


@dataclass
class Project:
    """A user's folder with services, bundles and data."""

    folder: Path
    environment: dict[str, str]

    def command(self, *words: str | bytes) -> list[str | bytes]:
        """The command line of ``bentobatch WORDS``."""
        return [sys.executable, "-m", "bentobatch", *words]

    def bentobatch(self, *words: str | bytes) -> Done:
        """Run ``bentobatch WORDS`` in the folder."""
        done = subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project of the README, after training: bundles in bundles/, one of them in the repository too."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "services.py").write_text(SERVICES)
    (folder / "train.py").write_text(TRAIN)
    made = Project(folder, {**os.environ, "PYTHONPATH": str(ROOT), "BENTOBATCH_HOME": str(folder / "home")})
    subprocess.run([sys.executable, "train.py"], cwd=folder, env=made.environment, check=True, timeout=120)
    (folder / "services.py").unlink()  # the bundles have their own copies
    flowers = datasets.load_iris(as_frame=True).data
    flowers.insert(0, "id", np.arange(1000, 1000 + len(flowers)))
    flowers.to_parquet(folder / "flowers.parquet")
    flowers.to_csv(folder / "flowers.csv", index=False)
    pd.DataFrame({"x": np.arange(8.0)}).to_parquet(folder / "numbers.parquet")
    pd.DataFrame({"x": [7.0]}).to_parquet(folder / "one.parquet")
    return made


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """What the model itself says of the flowers."""
    iris = datasets.load_iris(as_frame=True)
    return np.asarray(svm.SVC(gamma="scale").fit(iris.data, iris.target).predict(iris.data))


@pytest.fixture
def files(project: Project) -> Callable[[], list[str]]:
    """The names in the project's folder."""
    return lambda: sorted(os.listdir(project.folder))


def json_lines(text: str) -> list[dict[str, Any]]:
    """Every line as an object."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_parquet_file_is_scored_into_another(project: Project, expected: np.ndarray) -> None:
    """One row for each row, in order, with the kept column; stdout is empty, and the report ends stderr."""
    words = shlex.split("run bundles/iris predict --input-file flowers.parquet --output-file scored.parquet --keep id")
    done = project.bentobatch(*words, "--report", "report.json")
    assert (done.code, done.out) == (0, "")
    scored = pd.read_parquet(project.folder / "scored.parquet")
    assert list(scored.columns) == ["id", "prediction"]
    assert scored["id"].tolist() == list(range(1000, 1150))
    assert scored["prediction"].tolist() == expected.tolist()
    lines = done.err.splitlines()[-3:]
    assert lines[0] == "rows 150, rejected 0, discarded 0"
    assert lines[1].startswith("seconds ")
    assert lines[2].startswith(f"output {project.folder}/scored.parquet, plan ")
    report = json.loads((project.folder / "report.json").read_text())
    assert (report["rows"], report["scored"], report["api"]) == (150, 150, "predict")

    again = project.bentobatch(*words)
    assert (again.code, again.out) == (0, "")
    assert "already done" in again.err

    other = project.bentobatch(*words, "--limit", "5")
    assert (other.code, other.out, other.err.count("\n")) == (73, "", 1)
    assert "--overwrite" in other.err
    assert len(pd.read_parquet(project.folder / "scored.parquet")) == 150

    replaced = project.bentobatch(*words, "--limit", "5", "--overwrite")
    assert replaced.code == 0
    assert len(pd.read_parquet(project.folder / "scored.parquet")) == 5


def test_inline_values_are_scored_with_a_bundle_of_the_repository(project: Project) -> None:
    """By its tag; stdout holds one JSON line for each row and nothing else. Several values may follow one flag."""
    done = project.bentobatch("run", "IrisClassifier:latest", "predict", "--input", "[[5.1, 3.5, 1.4, 0.2]]")
    assert (done.code, done.out) == (0, '{"prediction":0}\n')
    more = project.bentobatch("run", "IrisClassifier", "--input", "[[5.1, 3.5, 1.4, 0.2]]", "[[6.7, 3.0, 5.2, 2.3]]")
    assert (more.code, more.out) == (66, "")  # a bare name is no folder; the message gives the tag to write
    assert "IrisClassifier:latest" in more.err
    more = project.bentobatch(
        *("run", "bundles/iris", "--input", "[[5.1, 3.5, 1.4, 0.2]]", "[[6.7, 3.0, 5.2, 2.3]]", "--quiet")
    )
    assert more == Done(0, '{"prediction":0}\n{"prediction":2}\n', "")


def test_json_values_are_scored_inline_and_from_lines(project: Project) -> None:
    """An api that takes JSON gets each value of --input, and each line of a file, as one row."""
    words = ["run", "bundles/Doubling", "predict", "--quiet"]
    (project.folder / "numbers.jsonl").write_text("1\n2.5\n-3\n")
    expected = Done(0, '{"prediction":2.0}\n{"prediction":5.0}\n{"prediction":-6.0}\n', "")
    assert project.bentobatch(*words, "--input-file", "numbers.jsonl") == expected
    assert project.bentobatch(*words, "--input", "1", "2.5", "-3") == expected


def test_a_csv_file_is_scored_to_stdout(project: Project, expected: np.ndarray) -> None:
    """--limit 100: JSON lines on stdout, and nothing else there."""
    done = project.bentobatch(*shlex.split("run bundles/iris predict --input-file flowers.csv --limit 100"))
    assert done.code == 0
    assert json_lines(done.out) == [{"prediction": int(label)} for label in expected[:100]]


@pytest.mark.parametrize(
    ("bundle", "more"),
    [
        ("DeclaredColumns", []),
        ("UndeclaredColumns", ["--features", ",".join(datasets.load_iris().feature_names)]),
        ("UndeclaredColumns", ["--exclude", "id"]),
        ("UndeclaredColumns", ["--keep", "id"]),
    ],
)
def test_a_model_of_bare_arrays_finds_its_features(
    bundle: str, more: list[str], project: Project, expected: np.ndarray
) -> None:
    """Declared by the api, named by hand, or all columns but those of --keep and --exclude."""
    done = project.bentobatch("run", f"bundles/{bundle}", "--input-file", "flowers.parquet", *more)
    assert done.code == 0, done.err
    assert [row["prediction"] for row in json_lines(done.out)] == expected.tolist()


def test_features_that_no_rule_finds_are_asked_for(project: Project) -> None:
    """The file has a column more than the model takes, and nobody said which."""
    done = project.bentobatch("run", "bundles/UndeclaredColumns", "--input-file", "flowers.parquet", "--quiet")
    assert done.code in (65, 70)
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert "--features" in done.err
    assert "columns=" in done.err


def test_a_dry_run_leaves_nothing(project: Project, files: Callable[[], list[str]]) -> None:
    """It shows files, features and the rule, and writes neither output nor state."""
    before = files()
    words = shlex.split("run bundles/iris --input-file flowers.parquet --output-file dry.parquet --keep id --dry-run")
    done = project.bentobatch(*words)
    assert (done.code, done.err) == (0, "")
    assert f"{project.folder}/flowers.parquet" in done.out
    assert "sepal length (cm)" in done.out
    assert "150 in 1 split" in done.out
    assert files() == before
    plan = json.loads(project.bentobatch(*words, "--log-format", "json").out)
    assert (plan["rows"], plan["rows_done"]) == (150, 0)
    assert files() == before


def test_what_the_model_prints_is_kept_from_stdout(project: Project) -> None:
    """Its prints and warnings go to stderr; with JSON logs each of their lines is an object."""
    words = ["run", "bundles/Manners", "noisy", "--input-file", "numbers.parquet", "--limit", "2"]
    done = project.bentobatch(*words)
    assert (done.code, done.out) == (0, '{"prediction":0.0}\n{"prediction":2.0}\n')
    done = project.bentobatch(*words, "--log-format", "json")
    assert (done.code, len(json_lines(done.out))) == (0, 2)
    events = json_lines(done.err)
    assert any("a warning of the model" in event["message"] for event in events)
    assert sum(event["message"] == "report" for event in events) == 1


def test_a_model_that_ends_the_process_is_one_line(project: Project) -> None:
    """os._exit(0) in the api must not look like success."""
    done = project.bentobatch("run", "bundles/Manners", "leaves", "--input-file", "numbers.parquet", "--quiet")
    assert (done.code, done.out) == (70, "")
    assert done.err.splitlines()[-1].startswith("bentobatch: ")
    assert "Traceback" not in done.err


def test_bad_rows_stop_the_run_until_they_are_accepted(project: Project) -> None:
    """71 and how to accept them; accepted, they cost themselves alone."""
    pd.DataFrame({"x": [1.0, -1.0, 3.0]}).to_parquet(project.folder / "signs.parquet")
    words = shlex.split("run bundles/Manners picky --input-file signs.parquet --output-file signs.jsonl --quiet")
    done = project.bentobatch(*words, "--status-column", "why")
    assert (done.code, done.out) == (71, "")
    assert "--max-rejects" in done.err
    assert not (project.folder / "signs.jsonl").exists()

    done = project.bentobatch(*words, "--status-column", "why", "--max-rejects", "40%")
    assert (done.code, done.out) == (0, "")
    assert json_lines((project.folder / "signs.jsonl").read_text()) == [
        {"prediction": 2.0, "why": "ok"},
        {"prediction": None, "why": "rejected"},
        {"prediction": 6.0, "why": "ok"},
    ]
    rejects = pd.read_parquet(project.folder / "signs.jsonl.rejects.parquet")
    assert rejects["row"].tolist() == [1]
    assert "a negative number" in rejects["error"][0]


def test_a_stopped_run_goes_on_where_it_was(project: Project) -> None:
    """SIGTERM: exit 143, a line with the finished splits; the same command scores only the others."""
    calls = project.folder / "calls"
    words = shlex.split("run bundles/Manners slow --input-file numbers.parquet --output-file slow.csv --quiet")
    words += shlex.split("--split-rows 1 --executor inline")
    pd.DataFrame({"x": np.arange(8.0)}).to_parquet(project.folder / "numbers.parquet", row_group_size=1)
    environment = {**project.environment, "CALLS": str(calls)}
    process = subprocess.Popen(
        project.command(*words), cwd=project.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        while not calls.exists() or len(calls.read_text().split()) < 4:
            assert process.poll() is None, process.communicate()[1]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (143, b"")
    assert err.decode().startswith("bentobatch: stopped by SIGTERM; the same command goes on from ")
    assert not (project.folder / "slow.csv").exists()

    done = subprocess.run(
        [*project.command(*words), "--report", "slow.json"],
        cwd=project.folder,
        env=environment,
        check=True,
        timeout=120,
    )
    report = json.loads((project.folder / "slow.json").read_text())
    assert done.returncode == 0
    assert report["rows_reused"] >= 2
    assert pd.read_csv(project.folder / "slow.csv")["prediction"].tolist() == [x * 2.0 for x in range(8)]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--input-file", "missing.parquet"], 66, "missing.parquet"),
        (["--input-file", "s4://bucket/x.parquet"], 2, "s4"),
        (["--input-file", "/dev/zero"], 65, "regular file"),
        (["--input-file", "one.parquet", "--output-file", "no/such/folder/out.parquet"], 73, "No such"),
        (["--input-file", "one.parquet", "--output-format", "xml", "--output-file", "out"], 2, "xml"),
        (["--input-file", "one.parquet", "--executor", "nobody"], 2, "nobody"),
        (["--input", "[[1, 2"], 65, "--input"),
        (["--input", "[[1]]", "--input-file", "one.parquet"], 2, "not both"),
    ],
)
def test_what_cannot_work_is_one_line_and_its_code(
    words: list[str], code: int, says: str, project: Project, files: Callable[[], list[str]]
) -> None:
    """The line names the thing; nothing is printed to stdout, no output appears."""
    before = files()
    done = project.bentobatch("run", "bundles/Manners", "picky", *words)
    assert (done.code, done.out) == (code, "")
    assert done.err.splitlines()[-1].startswith("bentobatch: ")
    assert says in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert [name for name in files() if not name.startswith(".")] == [
        name for name in before if not name.startswith(".")
    ]


@pytest.mark.parametrize(
    "name",
    ["-dash.parquet", "with space.parquet", "per%20cent#hash?q.parquet", "quote'\".parquet", b"bad\xffutf8.parquet"],
)
def test_a_file_of_any_name_is_scored(name: str | bytes, project: Project) -> None:
    """Given behind an equals sign, any name is a name."""
    path = os.path.join(os.fsencode(project.folder), os.fsencode(name))
    with open(path, "wb") as file:
        file.write((project.folder / "one.parquet").read_bytes())
    try:
        done = project.bentobatch("run", "bundles/Manners", "picky", b"--input-file=" + os.fsencode(name), "--quiet")
    finally:
        os.unlink(path)
    assert done == Done(0, '{"prediction":14.0}\n', "")


def test_a_changed_bundle_is_refused(project: Project, tmp_path: Path) -> None:
    """Its digest is verified before its code is run."""
    bundle = tmp_path / "iris"
    shutil.copytree(project.folder / "bundles" / "iris", bundle)
    code = next(bundle.glob("*/services.py"))
    code.write_text(code.read_text() + textwrap.dedent("\nprint('changed')\n"))
    done = project.bentobatch("run", str(bundle), "--input", "[[5.1, 3.5, 1.4, 0.2]]", "--quiet")
    assert (done.code, done.out, done.err.count("\n")) == (65, "", 1)
    assert "services.py" in done.err
    assert "changed" in done.err
