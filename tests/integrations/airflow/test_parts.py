"""The small parts of the provider: groups, connections, assets, keywords, errors, and the trigger on new bundles."""

from __future__ import annotations

import asyncio
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from bentobatch.errors import UsageError, error_classes
from bentobatch.runs import make_job, run_job
from bentobatch_airflow.groups import as_text, from_text, grouped

pytestmark = pytest.mark.usefixtures("airflow")


def test_groups_hold_every_split_once_and_are_never_too_many() -> None:
    """Their sizes differ by one at most; a resumed plan's holes are kept."""
    for numbers in ([], [0], list(range(10)), list(range(0, 1000, 3)), [*range(50), *range(70, 4000)]):
        for most in (1, 3, 100):
            groups = [from_text(text) for text in grouped(numbers, most)]
            assert [number for group in groups for number in group] == numbers
            assert len(groups) <= most
            assert max(map(len, groups), default=0) - min(map(len, groups), default=0) <= 1
    assert grouped(range(1_000_000), 2) == ["0-499999", "500000-999999"]
    assert as_text([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


def test_other_texts_name_no_splits() -> None:
    """A text from a template may be anything."""
    for text in ("", "a", "1-", "-1", "1,,2", "1-b"):
        with pytest.raises(UsageError, match="splits are named"):
            from_text(text)
    with pytest.raises(UsageError, match="at least 1"):
        grouped([1], 0)


def test_operators_take_the_keywords_of_run() -> None:
    """Under the same names; what is left out makes no sense under a scheduler, or comes from the connection."""
    from bentobatch_airflow.inference import BentoInferenceOperator
    from bentobatch_airflow.job import BentoJobTask

    job, run = (set(inspect.signature(function).parameters) for function in (make_job, run_job))
    taken = set(inspect.signature(BentoJobTask.__init__).parameters)
    assert job <= taken
    taken |= set(inspect.signature(BentoInferenceOperator.__init__).parameters)
    assert run - taken == {
        "job",
        *("restart", "break_lock"),  # a retry would undo what the try before has done
        *("storage_options",),  # conn_id
        *("isolated", "on_progress", "print_to"),  # always; the log; XCom carries no rows
    }


def test_keywords_become_a_job_with_the_engines_own_defaults(bundles: Path, tmp_path: Path) -> None:
    """What is not given is not said; only ``overwrite`` is on, unless ``only_new`` is."""
    from bentobatch_airflow import BentoInferenceOperator

    files = {"input_file": str(tmp_path / "in.csv"), "output_file": str(tmp_path / "out/")}
    task = BentoInferenceOperator(task_id="score", bundle="unused", **files)
    assert make_job(bundles / "linear", **task.keywords()) == make_job(bundles / "linear", overwrite=True, **files)
    task = BentoInferenceOperator(task_id="score", bundle="unused", only_new=True, max_rejects=None, **files)
    wanted = make_job(bundles / "linear", only_new=True, max_rejects=None, **files)
    assert make_job(bundles / "linear", **task.keywords()) == wanted


def test_executor_means_ours_unless_ours_is_named_too() -> None:
    """Airflow has a keyword of that name, which hybrid setups need."""
    from bentobatch_airflow import BentoInferenceOperator

    task = BentoInferenceOperator(task_id="score", bundle="b", executor="threads")
    assert (task.bento_executor, task.executor) == ("threads", None)
    task = BentoInferenceOperator(task_id="score", bundle="b", bento_executor="threads", executor="CeleryExecutor")
    assert (task.bento_executor, task.executor) == ("threads", "CeleryExecutor")


def test_a_triggerer_is_never_made_to_score() -> None:
    """Deferring makes sense where a cluster does the work; the DAG file says so when it is parsed."""
    from bentobatch_airflow import BentoInferenceOperator

    for executor in ("auto", "processes", "spark"):
        with pytest.raises(ValueError, match="'celery' or 'dask'"):
            BentoInferenceOperator(task_id="score", bundle="b", executor=executor, deferrable=True)
    with pytest.raises(ValueError, match="'address'"):
        BentoInferenceOperator(task_id="score", bundle="b", executor="dask", deferrable=True)
    options = {"address": "tcp://127.0.0.1:8786"}
    BentoInferenceOperator(task_id="score", bundle="b", executor="dask", executor_options=options, deferrable=True)


def test_only_what_may_pass_is_tried_again() -> None:
    """Every error class is one or the other; a new one is fatal until somebody thinks about it."""
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    from bentobatch_airflow.failures import failure

    classes = error_classes()
    kinds = {name: type(failure(cls("what happened"))) for name, cls in classes.items()}
    assert {name for name, kind in kinds.items() if kind is AirflowException} == {
        *("UnavailableError", "OverloadedError", "DeadlineError", "Retryable", "LockedError", "StorageError")
    }
    assert set(kinds.values()) == {AirflowException, AirflowFailException}
    assert str(failure(classes["DataError"]("what happened"))) == "DataError: what happened"


def test_outputs_are_assets_whose_names_do_not_change_from_run_to_run() -> None:
    """The fixed part of a templated path; nothing for what is known at run time only."""
    from bentobatch_airflow.assets import asset_of

    uris = {
        "s3://out/{{ ds }}/": "s3://out/",
        "s3://out/a-{{ ds }}.parquet": "s3://out/",
        "s3://out/scores.parquet": "s3://out/scores.parquet",
        "/data/{{ ds }}/x.parquet": "file:///data",
    }
    for path, uri in uris.items():
        made = asset_of(path)
        assert made is not None
        assert made.uri == uri
    for unknown in ("{{ params.out }}/x", "relative/x.parquet", "s3://{{ var.value.bucket }}/x", None, object()):
        assert asset_of(unknown) is None


@pytest.mark.parametrize(
    ("connection", "options"),
    [
        (
            {"conn_type": "aws", "login": "k", "password": "s", "extra": '{"region_name": "eu-west-1"}'},
            {"key": "k", "secret": "s", "client_kwargs": {"region_name": "eu-west-1"}},
        ),
        (
            {"conn_type": "aws", "extra": '{"service_config": {"s3": {"endpoint_url": "http://h"}}}'},
            {"endpoint_url": "http://h"},
        ),
        (
            {"conn_type": "google_cloud_platform", "extra": '{"keyfile_dict": "{\\"a\\": 1}", "project": "p"}'},
            {"token": {"a": 1}, "project": "p"},
        ),
        (
            {"conn_type": "wasb", "login": "account", "password": "key"},
            {"account_name": "account", "account_key": "key"},
        ),
        (
            {"conn_type": "adls", "host": "account", "login": "app", "password": "s", "extra": '{"tenant_id": "t"}'},
            {"account_name": "account", "tenant_id": "t", "client_id": "app", "client_secret": "s"},
        ),
        ({"conn_type": "generic", "extra": '{"storage_options": {"anon": true}}'}, {"anon": True}),
    ],
)
def test_a_connection_becomes_the_options_of_its_storage(connection: dict[str, Any], options: dict[str, Any]) -> None:
    """In the words of s3fs, gcsfs and adlfs; nothing empty."""
    from airflow.sdk import Connection

    from bentobatch_airflow.storage import options_of

    made = Connection(conn_id="store", **connection)
    assert options_of(made, made.extra_dejson) == options


def test_a_connection_that_is_not_understood_says_what_to_do() -> None:
    """Without showing what it holds."""
    from airflow.sdk import Connection

    from bentobatch_airflow.storage import options_of

    for connection, told in (
        ({"conn_type": "postgres", "password": "verysecret"}, "known are adls, aws"),
        ({"conn_type": "aws", "password": "verysecret", "extra": '{"role_arn": "r"}'}, "AWS_ROLE_ARN"),
        ({"conn_type": "aws", "extra": '{"storage_options": "verysecret"}'}, "JSON object"),
    ):
        made = Connection(conn_id="store", **connection)
        with pytest.raises(UsageError, match=told) as caught:
            options_of(made, made.extra_dejson)
        assert "verysecret" not in str(caught.value)


def test_airflow_knows_the_provider() -> None:
    """``airflow providers list`` shows it, with its decorator."""
    from airflow.providers_manager import ProvidersManager
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    assert ProvidersManager().providers["bentobatch"].version == "0.1.0"
    assert "bento" in ProvidersManagerTaskRuntime().taskflow_decorators


class Store:
    """An asset's state store, as a trigger sees it."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = value


def test_a_new_bundle_fires_once_also_after_a_restart(bundles: Path) -> None:
    """The one that is there at first is not new; one that was saved while no triggerer ran is."""
    from bentobatch_airflow import NewBundleTrigger

    services = sys.modules["bentobatch_test_services"]

    def save(version: str) -> None:
        service = services.Linear()
        service.pack("model", services.LinearModel())
        service.save(version=version)

    store = Store()

    async def next_event(*, save_meanwhile: str | None) -> Any:
        place, keywords = NewBundleTrigger(name="Linear", poll_interval=0.01).serialize()
        assert place == "bentobatch_airflow.bundle_trigger.NewBundleTrigger"
        trigger = NewBundleTrigger(**keywords)
        trigger.asset_state_store = store
        events = trigger.run()
        waiting = asyncio.ensure_future(anext(events))
        if save_meanwhile:
            while not store.values:
                await asyncio.sleep(0.01)
            save(save_meanwhile)
        event = await waiting
        await events.aclose()
        return event.payload

    save("one")
    assert asyncio.run(next_event(save_meanwhile="two")) == {"bundle": "Linear:two"}
    save("three")
    assert asyncio.run(next_event(save_meanwhile=None)) == {"bundle": "Linear:three"}
