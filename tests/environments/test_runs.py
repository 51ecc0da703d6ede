"""A bundle runs in an environment of its own, and its values never mix with those of another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.cli.main import main
from bentobatch.comparison.comparing import compare
from bentobatch.engine import remote
from bentobatch.engine.place import place_of
from bentobatch.engine.remote import KeptPlan, score_split
from bentobatch.environments import installed as installed_module
from bentobatch.environments import interpreters
from bentobatch.errors import BentobatchError, BundleError, ModelError, OutputError, UsageError
from bentobatch.runs import make_job, run_job
from tests.conformance.pool_scheduler import PoolScheduler
from tests.environments.conftest import Rivals
from tests.legacy.layout import write_bundle


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """The numbers 0 to 99, in ten row groups."""
    pq.write_table(pa.table({"x": [float(number) for number in range(100)]}), tmp_path / "x.parquet", row_group_size=10)
    return tmp_path / "x.parquet"


def predictions(path: Path) -> list[float]:
    return pq.read_table(path).column("prediction").to_pylist()  # type: ignore[no-any-return]


def test_two_bundles_with_conflicting_pins_are_scored_from_one_process(
    kept: Rivals, numbers: Path, tmp_path: Path
) -> None:
    """Each in its own environment; this process has neither of the two libraries, so it cannot have scored either."""
    options: dict[str, Any] = {"input_file": numbers, "env": "bundle", "split_rows": 10}
    reports = [
        bentobatch.run(bundle, output_file=tmp_path / f"{bundle.name}.parquet", **options)
        for bundle in (kept.first, kept.second)
    ]
    assert predictions(tmp_path / "First.parquet") == [float(number) for number in range(100)]
    assert predictions(tmp_path / "Second.parquet") == [2.0 * number for number in range(100)]
    assert [report.environment["packages"]["rivals"] for report in reports if report.environment] == ["1.0", "2.0"]
    assert [report.environment["env"] for report in reports if report.environment] == ["bundle", "bundle"]
    with pytest.raises(ModelError, match="rivals"):
        bentobatch.run(kept.first, input_file=numbers, output_file=tmp_path / "here.parquet", max_rejects=None)


def test_a_scheduler_scores_in_the_environment_too(kept: Rivals, numbers: Path, tmp_path: Path) -> None:
    """The plan says in which; the workers have it, or build it. The values are those of a local run."""
    job = make_job(kept.second, input_file=numbers, output_file=tmp_path / "o.parquet", env="bundle", split_rows=10)
    report = run_job(job, executor=PoolScheduler(2))
    assert (report.executor, report.splits) == ("pool", 10)
    assert predictions(tmp_path / "o.parquet") == [2.0 * number for number in range(100)]


def test_parts_of_another_environment_are_not_taken_over(kept: Rivals, numbers: Path, tmp_path: Path) -> None:
    """The same bundle, input and output, in an environment with another library: another plan, so nothing mixes."""
    elsewhere = environment(tmp_path / "elsewhere", {"rivals.py": "def score(x):\n    return -x\n"}, "3.0")
    options: dict[str, Any] = {"input_file": numbers, "output_file": tmp_path / "o.parquet"}
    first = bentobatch.run(kept.first, env="bundle", **options)
    with pytest.raises(OutputError):
        bentobatch.run(kept.first, env=elsewhere, **options)
    second = bentobatch.run(kept.first, env=elsewhere, overwrite=True, **options)
    assert first.plan_id != second.plan_id
    assert second.rows_reused == 0
    assert predictions(tmp_path / "o.parquet") == [-float(number) for number in range(100)]
    again = bentobatch.run(kept.first, env=elsewhere / "bin" / "python", **options)
    assert again.already_done  # the environment is known by what is installed in it, not by how it was named


def test_a_worker_with_other_libraries_than_the_plans_refuses_to_score(
    kept: Rivals, numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment that was built elsewhere at another time may hold other releases; the error names them."""
    job = make_job(kept.first, input_file=numbers, output_file=tmp_path / "o.parquet", env="bundle", split_rows=10)
    place = place_of(job)
    from bentobatch.engine.process_crew import ProcessCrew

    crew = ProcessCrew()
    try:
        summary = crew.plan(job)
    finally:
        crew.close()
    plan_file = Path(place.state) / summary.plan_id / "plan.json"
    plan = json.loads(plan_file.read_text())
    plan["environment"]["packages"]["rivals"] = "0.9"
    plan_file.write_text(json.dumps(plan))
    try:
        answer = score_split(KeptPlan(place.state, summary.plan_id).to_json(), 0)
    finally:
        remote.close_servers()
    assert "rivals 1.0 instead of 0.9" in answer["error"]["message"]


def test_the_command_line_runs_a_bundle_in_an_environment(
    kept: Rivals, numbers: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """--env bundle, and --env PATH; a dry run plans there too."""
    arguments = ["run", str(kept.second), "predict", "--input-file", str(numbers), "--limit", "2"]
    assert main([*arguments, "--env", "bundle"]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == ['{"prediction":0.0}', '{"prediction":2.0}']
    assert "environment bundle (Python 3" in err
    assert main([*arguments, "--env", "bundle", "--dry-run"]) == 0
    assert "rivals" not in capfd.readouterr().err
    assert main([*arguments, "--env", "no/such/folder"]) == 2
    assert "--env no/such/folder: there is no such interpreter" in capfd.readouterr().err


def test_lost_rows_are_scored_again_in_the_environment_of_the_run_or_another(
    numbers: Path, tmp_path: Path, kept: Rivals
) -> None:
    """The library was mended in another one; the rows that were fine keep their values."""
    strict = "def score(x):\n    if x == 7:\n        raise ValueError('seven')\n    return x\n"
    broken = environment(tmp_path / "broken", {"rivals.py": strict}, "0.1")
    output = tmp_path / "o.parquet"
    bentobatch.run(kept.first, input_file=numbers, output_file=output, env=broken, max_rejects=1)
    assert predictions(output)[7] is None
    assert bentobatch.redrive(output).rejected == 1  # in the same environment
    report = bentobatch.redrive(output, env="bundle")
    assert report.rejected == 0
    assert predictions(output) == [float(number) for number in range(100)]
    assert main(["redrive", str(output), "--env", "no/such/place"]) == 2


def test_what_works_in_the_callers_own_process_takes_no_environment(
    kept: Rivals, numbers: Path, tmp_path: Path
) -> None:
    """``plan`` would load the bundle here."""
    with pytest.raises(UsageError, match="your own process"):
        bentobatch.plan(kept.first, input_file=numbers, output_file=tmp_path / "o.parquet", env="bundle")


def test_current_is_the_default(bundles: Path, tmp_path: Path) -> None:
    """With it, a plan is the one that it always was."""
    options: dict[str, Any] = {"input": "[1, 2, 3]", "output_file": tmp_path / "o.parquet"}
    assert make_job(bundles / "linear", env="current", **options) == make_job(bundles / "linear", **options)


def environment(folder: Path, files: dict[str, str], version: str) -> Path:
    """A virtual environment that looks into this one after itself, with a library ``rivals`` in it."""
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    for name, text in files.items():
        (packages / name).write_text(text)
    info = packages / f"rivals-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: rivals\nVersion: {version}\n")
    (site,) = [path for path in sys.path if path.endswith("site-packages") and (Path(path) / "pyarrow").is_dir()]
    (packages / "borrowed.pth").write_text(f"{site}\n")
    return folder


def test_the_libraries_are_told_apart_by_their_versions() -> None:
    """Five differences are named, others counted."""
    planned = {"python": "3.11.7", "packages": {f"p{number}": "1" for number in range(8)}}
    here = {"python": "3.11.8", "packages": {"p0": "1", "p1": "2", "extra": "3"}}
    text = installed_module.difference(planned, here)
    assert text.startswith("Python 3.11.8 instead of 3.11.7, extra 3 instead of none, p1 2 instead of 1, p2 missing")
    assert text.endswith(" and 4 more")
    assert installed_module.difference(planned, planned) == ""


def test_bundles_with_conflicting_pins_are_compared(kept: Rivals, numbers: Path) -> None:
    """Each side in its own environment."""
    found = compare(kept.first, kept.second, input_file=numbers, old_env="bundle", new_env="bundle")
    assert (found.rows, found.changed) == (100, 99)  # 0 stays 0
    assert [side["environment"]["packages"]["rivals"] for side in (found.old, found.new)] == ["1.0", "2.0"]
    assert found.columns["prediction"]["quantiles"]["max"] == [99.0, 198.0]


def test_an_older_python_holds_the_models_while_the_code_runs_here(
    tmp_path: Path, numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any is older than 3.99. The pickle names what only that environment has; so does the report."""
    monkeypatch.setattr(interpreters, "OLDEST", (3, 99))
    older = environment(tmp_path / "older", {"rivals.py": "MODEL = {'factor': 5.0}\n"}, "0.1")
    bundle = write_bundle(tmp_path / "old", model=b"crivals\nMODEL\n.")
    options: dict[str, Any] = {"input_file": numbers, "output_file": tmp_path / "o.parquet", "split_rows": 30}
    with pytest.raises(BentobatchError, match="rivals"):
        bentobatch.run(bundle, isolated=True, **options)
    report = bentobatch.run(bundle, env=older, executor="threads", workers=2, **options)
    assert predictions(tmp_path / "o.parquet") == [5.0 * number for number in range(100)]
    assert report.environment is not None
    assert report.environment["packages"]["rivals"] == "0.1"
    with pytest.raises(BundleError, match="pickle"):
        bentobatch.run(bundle, env=older, allow_pickle=False, overwrite=True, **options)
