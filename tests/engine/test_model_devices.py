"""This module tests that a plan keeps to one kind of device. Devices are told by an artifact of the test's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bentobatch import commit, plan, run, run_split
from bentobatch.devices import VARIABLE, asked_device, checked_device, kind_of, on_device
from bentobatch.engine.job import BatchJob
from bentobatch.engine.model_devices import with_settled_device
from bentobatch.engine.plan import Plan
from bentobatch.engine.session import loaded
from bentobatch.errors import UsageError

SERVICE = '''
import bentobatch
from bentobatch.adapters import DataframeInput
from bentobatch.devices import asked_device
from bentobatch.frameworks.base import BentoServiceArtifact


class Placed(BentoServiceArtifact):
    """Lies wherever it is asked to; auto is the CPU."""

    uses_pickle = False

    def save_model(self, folder):
        (folder / f"{self.name}.txt").write_text(str(self.get()))

    def load_model(self, folder):
        asked = asked_device()
        self.loaded_on = "cpu" if asked == "auto" else asked
        return float((folder / f"{self.name}.txt").read_text())


@bentobatch.artifacts([Placed("model")])
class OnDevices(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def predict(self, df):
        return [f"{asked_device()} {value * self.artifacts.model}" for value in df["x"]]
'''


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    (folder / "bentobatch_device_service.py").write_text(SERVICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        service = __import__("bentobatch_device_service").OnDevices()
        service.pack("model", 2.0)
        service.save_to_dir(str(folder / "bundle"))
    (folder / "rows.csv").write_text("x\n1.5\n2.5\n")
    return folder / "bundle"


def planned(bundle: Path, tmp_path: Path, device: str | None) -> Plan:
    return plan(bundle, input_file=bundle.parent / "rows.csv", output_file=tmp_path / "out.parquet", device=device)


def test_the_kind_of_device_is_part_of_the_plan_id(bundle: Path, tmp_path: Path) -> None:
    """auto on the CPU and cpu are one plan; a GPU is another one, whatever its number."""
    ids = {device: planned(bundle, tmp_path, device).plan_id for device in (None, "auto", "cpu", "cuda:0", "cuda:1")}
    assert ids[None] == ids["auto"] == ids["cpu"]
    assert ids["cuda:0"] == ids["cuda:1"]
    assert ids["cpu"] != ids["cuda:0"]


def test_workers_load_onto_the_planners_kind_of_device(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with a GPU scores a plan of the CPU on the CPU."""
    made = Plan.from_json(json.loads(json.dumps(planned(bundle, tmp_path, None).to_json())))
    assert made.job.device == "cpu"
    monkeypatch.setenv(VARIABLE, "cuda:0")
    loaded.cache_clear()
    run_split(made, 0)
    commit(made)
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "out.parquet")["prediction"].to_pylist() == ["cpu 3.0", "cpu 5.0"]


def test_a_worker_on_another_kind_of_device_refuses(bundle: Path, tmp_path: Path) -> None:
    """Where the device was settled by hand, and the worker's models came to lie elsewhere."""
    made = planned(bundle, tmp_path, "cuda:0")
    assert (made.job.device, made.devices) == ("cuda:0", {"model": "cuda"})
    moved = Plan.from_json(made.to_json() | {"job": made.job.to_json() | {"device": "cpu"}})
    with pytest.raises(UsageError, match=r"'model' on cuda, and this worker on cpu.*--device cpu"):
        run_split(moved, 0)


def test_the_api_runs_with_the_device_of_its_models(bundle: Path, tmp_path: Path) -> None:
    """What makes tensors for it asks there, in whatever thread."""
    out = tmp_path / "out.jsonl"
    run(bundle, input_file=bundle.parent / "rows.csv", output_file=out, device="cuda:3", executor="threads", workers=2)
    assert [json.loads(line)["prediction"] for line in out.read_text().splitlines()] == ["cuda:3 3.0", "cuda:3 5.0"]


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "CPU", "", "cuda:0;"])
def test_what_is_no_device_is_a_usage_error(text: str, bundle: Path, tmp_path: Path) -> None:
    """In one line, before anything is loaded."""
    with pytest.raises(UsageError, match="is no device: give auto, cpu, or a GPU as cuda:0"):
        planned(bundle, tmp_path, text)
    with pytest.raises(UsageError):
        checked_device(text)


def test_the_environment_says_which_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the job says nothing, or only that it is to be a GPU."""
    assert asked_device() == "auto"
    monkeypatch.setenv(VARIABLE, "cuda:2")
    assert asked_device() == "cuda:2"
    for asked, found in (("cuda", "cuda:2"), ("cuda:1", "cuda:1"), ("cpu", "cpu"), ("auto", "auto"), (None, "cuda:2")):
        with on_device(asked):
            assert asked_device() == found
    monkeypatch.setenv(VARIABLE, "cpu")
    with on_device("cuda"):
        assert asked_device() == "cuda"


def test_a_job_whose_models_lie_on_both_is_left_as_it_is() -> None:
    """One library found a GPU and the other did not: each worker has to find the same again."""
    job = BatchJob(bundle="b", bundle_digest="d", bundle_tag="t", api="predict", inputs=("1",))
    assert with_settled_device(job, {"a": "cpu", "b": "cuda"}) == job
    assert with_settled_device(job, {}) == job
    assert with_settled_device(job, {"a": "cuda"}).device == "cuda"
    assert kind_of("cuda:7") == kind_of("cuda") == "cuda"
