"""One task scores a whole job: report, retries, errors, stops, secrets and tags."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch import runs
from bentobatch.engine import driver
from bentobatch.engine.lease import take_lease
from bentobatch.engine.place import place_at
from bentobatch.errors import UnavailableError
from tests.engine.test_promises import check_output, write_input
from tests.integrations.airflow.dag_runs import write_picky

SCORE = """
BentoInferenceOperator(
    task_id="score", bundle=<bundle>, input_file=<folder> + "/in.parquet", output_file=<folder> + "/out.parquet",
    split_rows=100, keep=["id"], executor=<executor>, retries=<retries>, workers=1,
)
"""
RunDag = Callable[..., Any]


@pytest.mark.parametrize("executor", ["auto", "processes"])
def test_a_task_scores_as_run_does(run_dag: RunDag, bundles: Path, tmp_path: Path, executor: str) -> None:
    """Same output; XCom holds the small report, which is JSON, and the event of the asset holds it too."""
    frame = write_input(tmp_path / "in.parquet", 1000)
    ran = run_dag(SCORE, bundle=bundles / "linear", folder=tmp_path, executor=executor, retries=0)
    assert ran.state == "success"
    check_output(tmp_path / "out.parquet", frame)
    report = ran.xcom("score")
    assert json.loads(json.dumps(report)) == report
    assert (report["rows"], report["rejected"], report["splits"]) == (1000, 0, 10)
    assert (report["output"], report["rejects_file"]) == (str(tmp_path / "out.parquet"), None)
    assert set(report) >= {"plan_id", "seconds"}
    assert ran.events() == {f"file://{tmp_path}/out.parquet": report}


def test_a_failed_try_is_gone_on_with(
    run_dag: RunDag, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fifth split fails in the first try; the second scores it and what follows, under the same plan."""
    monkeypatch.setattr(driver, "MOST_RETRIES", 0)
    monkeypatch.setenv("BENTOBATCH_TEST_FLAG", str(tmp_path / "flag"))
    write_picky(tmp_path, -9)
    ran = run_dag(SCORE, bundle=bundles / "picky", folder=tmp_path, executor="inline", retries=1)
    assert (ran.state, ran.task("score").try_number) == ("success", 2)
    assert ran.xcom("score")["splits_reused"] == 4
    again = run_dag(SCORE, bundle=bundles / "picky", folder=tmp_path, executor="inline", retries=1)
    assert again.xcom("score")["plan_id"] == ran.xcom("score")["plan_id"]
    assert again.xcom("score")["already_done"]


@pytest.fixture
def harmless_sigterm() -> Iterator[None]:
    """Airflow's handler stays behind after a task; and a signal too late must not end the tests."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("harmless_sigterm")
def test_a_kill_ends_the_children_and_gives_the_lease_back(
    run_dag: RunDag, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM in the middle of a split: the task fails with a line, nothing of it goes on, and the next try does."""
    trace = tmp_path / "trace"
    monkeypatch.setenv("BENTOBATCH_TEST_TRACE", str(trace))
    monkeypatch.setenv("BENTOBATCH_TEST_SLEEP", "0.4")
    frame = write_input(tmp_path / "in.parquet", 1000)

    def kill() -> None:
        while not trace.exists() or sum(line.endswith(" 100") for line in trace.read_text().splitlines()) < 4:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    ran = run_dag(SCORE, bundle=bundles / "linear", folder=tmp_path, executor="inline", retries=0)
    killer.join()
    assert ran.state == "failed"
    assert not (tmp_path / "out.parquet").exists()
    for pid in {int(line.split()[0]) for line in trace.read_text().splitlines()}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    take_lease(place_at(str(tmp_path / "out.parquet"))).release()
    monkeypatch.setenv("BENTOBATCH_TEST_SLEEP", "0")
    again = run_dag(SCORE, bundle=bundles / "linear", folder=tmp_path, executor="inline", retries=0)
    assert again.xcom("score")["splits_reused"] >= 2
    check_output(tmp_path / "out.parquet", frame)


@pytest.mark.parametrize(
    ("bad", "told"), [(-1.0, "1 of 1,000 rows were rejected"), (-8.0, "ModelError")], ids=["rejects", "model"]
)
def test_what_another_try_cannot_mend_fails_at_once(
    run_dag: RunDag, bundles: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], bad: float, told: str
) -> None:
    """Two retries are left, and none is made; the log says why in the engine's words."""
    write_picky(tmp_path, bad)
    ran = run_dag(SCORE, bundle=bundles / "picky", folder=tmp_path, executor="inline", retries=2)
    assert (ran.state, ran.task("score").try_number) == ("failed", 1)
    written = capfd.readouterr()
    assert told in written.out + written.err


def test_what_may_pass_is_tried_again(run_dag: RunDag, bundles: Path, tmp_path: Path) -> None:
    """Another run holds the output; the task uses its retries."""
    write_input(tmp_path / "in.parquet", 1000)
    with take_lease(place_at(str(tmp_path / "out.parquet"))):
        ran = run_dag(SCORE, bundle=bundles / "linear", folder=tmp_path, executor="inline", retries=1)
    assert (ran.state, ran.task("score").try_number) == ("failed", 2)


def test_a_corrected_input_replaces_the_output(run_dag: RunDag, bundles: Path, tmp_path: Path) -> None:
    """The operator overwrites where the command line refuses; an unchanged job writes nothing."""
    write_input(tmp_path / "in.parquet", 1000)
    run_dag(SCORE, bundle=bundles / "linear", folder=tmp_path, executor="inline", retries=0)
    frame = write_input(tmp_path / "in.parquet", 500, seed=8)
    ran = run_dag(SCORE, bundle=bundles / "linear", folder=tmp_path, executor="inline", retries=0)
    assert not ran.xcom("score")["already_done"]
    check_output(tmp_path / "out.parquet", frame)


def test_latest_means_one_bundle_for_all_tries(
    run_dag: RunDag, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer bundle is saved between two tries: the second keeps to the first's; the next DAG run takes the newer."""
    write_input(tmp_path / "in.parquet", 300)
    services = sys.modules["bentobatch_test_services"]

    def save(version: str) -> None:
        service = services.Linear()
        service.pack("model", services.LinearModel())
        service.save(version=version)

    save("first")
    run_job = runs.run_job

    def failing_once(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(runs, "run_job", run_job)
        save("second")
        raise UnavailableError("made to fail")

    monkeypatch.setattr(runs, "run_job", failing_once)
    ran = run_dag(SCORE, bundle="Linear:latest", folder=tmp_path, executor="inline", retries=1)
    assert (ran.state, ran.task("score").try_number) == ("success", 2)
    assert ran.xcom("score")["bundle"] == "Linear:first"
    ran = run_dag(SCORE, bundle="Linear:latest", folder=tmp_path, executor="inline", retries=0)
    assert ran.xcom("score")["bundle"] == "Linear:second"


def test_credentials_of_a_connection_are_written_nowhere(
    run_dag: RunDag,
    airflow: Path,
    bundles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Not in the plan, the records, the output, Airflow's database and files, or any log; also when the task fails."""
    caplog.set_level(logging.DEBUG)
    secrets = ["AKIALOGINOFTHISTEST", "passwordofthistest", "tokenofthistest"]
    extra = {"aws_session_token": secrets[2], "endpoint_url": "http://127.0.0.1:9"}
    connection = {"conn_type": "aws", "login": secrets[0], "password": secrets[1], "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
    write_input(tmp_path / "in.parquet", 300)
    seen: list[Any] = []
    run_job = runs.run_job
    monkeypatch.setattr(
        runs, "run_job", lambda *args, **given: seen.append(given["storage_options"]) or run_job(*args, **given)
    )
    body = SCORE.replace("workers=1", "conn_id='store'")
    ran = run_dag(body, bundle=bundles / "linear", folder=tmp_path, executor="inline", retries=0)
    assert ran.state == "success"
    wanted = {"key": secrets[0], "secret": secrets[1], "token": secrets[2], "endpoint_url": "http://127.0.0.1:9"}
    assert seen == [wanted]
    failing = body.replace('<folder> + "/in.parquet"', '"s3://bucket/in.parquet"')
    assert run_dag(failing, bundle=bundles / "linear", folder=tmp_path, executor="inline", retries=0).state == "failed"
    written = capfd.readouterr()
    texts = [caplog.text, written.out, written.err, json.dumps(ran.xcom("score"))]
    for folder in (tmp_path, airflow.parent):
        texts += [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]
    assert sum(ran.xcom("score")["plan_id"] in text for text in texts) > 3  # the plan's id is where secrets would be
    for secret in secrets:
        assert not any(secret in text for text in texts)


def test_a_decorated_function_says_the_keywords(run_dag: RunDag, bundles: Path, tmp_path: Path) -> None:
    """``@task.bento``: what the function returns is rendered and run; the report is the task's value."""
    frame = write_input(tmp_path / "in.parquet", 300)
    ran = run_dag(
        """
        @task.bento(bundle=<bundle>, executor="inline")
        def score(name, dag=None):
            return {
                "input_file": <folder> + "/in.parquet",
                "output_file": <folder> + "/{{ dag.dag_id }}_" + name,
                "keep": ["id"],
                "split_rows": 100,
            }
        score("out.parquet")
        """,
        bundle=bundles / "linear",
        folder=tmp_path,
    )
    assert ran.state == "success"
    report = ran.xcom("score")
    assert (report["rows"], report["splits"]) == (300, 3)
    assert report["output"] == str(tmp_path / f"{ran.run.dag_id}_out.parquet")
    check_output(Path(report["output"]), frame)


def test_a_decorated_function_that_says_nonsense_fails_at_once(run_dag: RunDag, bundles: Path) -> None:
    """An unknown keyword is a usage error, which no other try mends."""
    ran = run_dag(
        """
        @task.bento(bundle=<bundle>, retries=2)
        def score():
            return {"input_fil": "in.parquet"}
        score()
        """,
        bundle=bundles / "linear",
    )
    assert (ran.state, ran.task("score").try_number) == ("failed", 1)


def test_a_task_can_be_mapped_over_inputs(run_dag: RunDag, bundles: Path, tmp_path: Path) -> None:
    """``executor`` keeps its meaning in ``partial``, where Airflow has a keyword of the same name."""
    for name in "ab":
        write_input(tmp_path / f"{name}.parquet", 100)
    ran = run_dag(
        """
        BentoInferenceOperator.partial(task_id="score", bundle=<bundle>, executor="inline").expand_kwargs(
            [{"input_file": f"{<folder>}/{n}.parquet", "output_file": f"{<folder>}/{n}.out.parquet"} for n in "ab"]
        )
        """,
        bundle=bundles / "linear",
        folder=tmp_path,
    )
    assert ran.state == "success"
    assert [pq.read_table(tmp_path / f"{name}.out.parquet").num_rows for name in "ab"] == [100, 100]


def test_the_report_becomes_lineage(run_dag: RunDag, bundles: Path, tmp_path: Path) -> None:
    """Airflow's OpenLineage provider asks the operator when it has ended: inputs, output with its rows, counts."""
    if not os.environ.get("CI"):
        pytest.importorskip("airflow.providers.openlineage")
    from bentobatch_airflow import BentoInferenceOperator

    write_input(tmp_path / "in.parquet", 300)
    report = bentobatch.run(bundles / "linear", input_file=tmp_path / "in.parquet", output_file=tmp_path / "o.parquet")
    from bentobatch_airflow import reports

    task = BentoInferenceOperator(task_id="score", bundle="b:latest", input_file="s3://in/x/*.parquet")
    assert task.get_openlineage_facets_on_complete(None) is None
    task.report = reports.of_run(report)
    lineage = task.get_openlineage_facets_on_complete(None)
    assert [(data.namespace, data.name) for data in lineage.inputs] == [("s3://in", "x/*.parquet")]
    (output,) = lineage.outputs
    assert (output.namespace, output.name) == ("file", str(tmp_path / "o.parquet"))
    assert output.outputFacets["outputStatistics"].rowCount == 300
    assert (lineage.run_facets["bentobatch"].plan_id, lineage.run_facets["bentobatch"].rejected) == (report.plan_id, 0)
