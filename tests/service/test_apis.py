"""This module tests what an api passes to the user's function, and how it describes itself."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from bentobatch.adapters.base import Converted, InputAdapter, OutputAdapter
from bentobatch.errors import UsageError
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.core import ServiceCore, declared_apis
from bentobatch.service.declarations import api
from bentobatch.tasks import InferenceTask


class Rows(InputAdapter):
    def __init__(self, columns: list[str] | None = None) -> None:
        self._columns = columns

    def config(self) -> dict[str, Any]:
        return {"columns": self._columns}

    def table_from_text(self, text: bytes, *, columns: Any = None) -> pa.Table:
        raise NotImplementedError

    def convert(self, batch: pa.RecordBatch) -> Converted:
        return Converted((batch,), batch.num_rows)


class Pairs(Rows):
    input_names = ("left", "right")


class Out(OutputAdapter):
    def columns(self, result: Any, *, name: str = "", classes: Any = None, schema: Any = None) -> pa.RecordBatch:
        raise NotImplementedError


TASKS = [InferenceTask(data=1), InferenceTask(data=2)]


class Service(ServiceCore):
    """One api for each way to take tasks, or not to."""

    @api(input=Rows(), output=Out(), batch=True)
    def without(self, data: Any) -> Any:
        return data, None

    @api(input=Rows(), output=Out(), batch=True)
    def optional_other(self, data: Any, threshold: float = 0.5) -> Any:
        return data, threshold

    @api(input=Rows(), output=Out(), batch=True)
    def anything(self, *args: Any, **options: Any) -> Any:
        return args, options

    @api(input=Rows(), output=Out(), batch=True)
    def tasks_by_name(self, data: Any, tasks: Any) -> Any:
        return data, tasks

    @api(input=Rows(), output=Out(), batch=True)
    def tasks_optional(self, data: Any, tasks: Any = None) -> Any:
        return data, tasks

    @api(input=Rows(), output=Out(), batch=True)
    def tasks_after_another(self, data: Any, threshold: float = 0.5, tasks: Any = None) -> Any:
        assert threshold == 0.5
        return data, tasks

    @api(input=Rows(), output=Out(), batch=True)
    def tasks_keyword(self, data: Any, *, tasks: Any) -> Any:
        return data, tasks

    @api(input=Rows(), output=Out(), batch=True)
    def tasks_under_another_name(self, data: Any, context: Any) -> Any:
        return data, context

    @api(input=Rows(), output=Out(), batch=True)
    def tasks_by_position(self, data: Any, tasks: Any, /) -> Any:
        return data, tasks


@pytest.mark.parametrize(
    "name",
    [
        "tasks_by_name",
        "tasks_optional",
        "tasks_after_another",
        "tasks_keyword",
        "tasks_under_another_name",
        "tasks_by_position",
    ],
)
def test_a_function_that_takes_tasks_gets_them(name: str) -> None:
    """One named task or tasks wherever it stands, or a required one beyond the inputs."""
    found = Service().get_inference_api(name)
    assert found.wants_tasks
    assert found.call(("data",), TASKS) == ("data", TASKS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("without", ("data", None)), ("optional_other", ("data", 0.5)), ("anything", (("data",), {}))],
)
def test_a_function_that_does_not_ask_for_tasks_gets_none(name: str, expected: Any) -> None:
    """An option of the user's own with a default is not taken for tasks."""
    found = Service().get_inference_api(name)
    assert not found.wants_tasks
    assert found.call(("data",), TASKS) == expected


def test_without_tasks_the_functions_own_default_holds() -> None:
    """A direct call has none."""
    assert Service().get_inference_api("tasks_optional").call(("data",)) == ("data", None)


def test_a_single_item_api_gets_its_one_task() -> None:
    """batch=False: the task itself, not a list."""

    class Single(ServiceCore):
        @api(input=Rows(), output=Out())
        def predict(self, data: Any, task: Any) -> Any:
            return data, task

    assert Single().get_inference_api("predict").call((1,), TASKS[:1]) == (1, TASKS[0])


def test_an_adapter_of_several_inputs_passes_them_by_position() -> None:
    """One value for each of its input_names; tasks come after."""

    class Several(ServiceCore):
        @api(input=Pairs(), output=Out(), batch=True)
        def plain(self, left: Any, right: Any) -> Any:
            return left, right

        @api(input=Pairs(), output=Out(), batch=True)
        def with_tasks(self, left: Any, right: Any, context: Any) -> Any:
            return left, right, context

    service = Several()
    assert not service.get_inference_api("plain").wants_tasks
    assert service.get_inference_api("plain").call((1, 2), TASKS) == (1, 2)
    assert service.get_inference_api("with_tasks").call((1, 2), TASKS) == (1, 2, TASKS)


def test_what_the_function_raises_comes_through() -> None:
    """The scorer decides what it means."""

    class Failing(ServiceCore):
        @api(input=Rows(), output=Out())
        def predict(self, data: Any) -> Any:
            raise ZeroDivisionError(data)

    with pytest.raises(ZeroDivisionError, match="7"):
        Failing().get_inference_api("predict").call((7,))


def test_an_api_is_bound_to_its_instance() -> None:
    """Two services of one class do not share state; an unbound api says so."""

    class Counting(ServiceCore):
        def __init__(self, number: int) -> None:
            self.number = number

        @api(input=Rows(), output=Out())
        def predict(self, data: Any) -> Any:
            return data + self.number

    assert [Counting(n).get_inference_api("predict").call((1,)) for n in (1, 2)] == [2, 3]
    with pytest.raises(UsageError, match="belongs to a class"):
        declared_apis(Counting)[0].call((1,))


def test_the_description_is_json_with_bentomls_keys() -> None:
    """It goes into the manifest."""

    class Described(ServiceCore):
        @api(input=Rows(["a"]), output=Out(), batch=True, output_schema={"score": "float", "why": "json"})
        def predict(self, data: Any) -> Any:
            """Score it."""

    found: InferenceAPI = Described().inference_apis[0]
    assert json.loads(json.dumps(found.describe())) == {
        "name": "predict",
        "docs": "Score it.",
        "input_type": "Rows",
        "output_type": "Out",
        "mb_max_batch_size": 4000,
        "mb_max_latency": 20000,
        "batch": True,
        "route": "predict",
        "input_config": {"columns": ["a"]},
        "output_config": {},
        "output_schema": {"score": "float", "why": "json"},
        "row_independent": True,
        "expect": [],
    }
