"""This module describes one api of a service: its function with everything that was declared about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bentobatch.errors import UsageError
from bentobatch.service.schemas import schema_as_text

if TYPE_CHECKING:
    import pyarrow as pa

    from bentobatch.adapters.base import InputAdapter, OutputAdapter
    from bentobatch.tasks import InferenceTask

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_TASK_NAMES = ("tasks", "task")


@dataclass(frozen=True, eq=False)
class InferenceAPI:
    """One api. ``mb_max_latency`` is in milliseconds. ``function`` is the method as it was written, unbound.

    On a service, ``service`` is the instance that ``call`` calls it on; on a class it is None.
    """

    name: str
    function: Callable[..., Any]
    input: InputAdapter
    output: OutputAdapter
    batch: bool = False
    route: str = ""
    doc: str = ""
    mb_max_batch_size: int = 4000
    mb_max_latency: int = 20000
    output_schema: pa.Schema | None = None
    row_independent: bool = True
    expect: tuple[str, ...] = ()
    service: Any = None

    @property
    def wants_tasks(self) -> bool:
        """Whether the function takes the task (batch=False) or the list of tasks (batch=True) as well."""
        return self._tasks_parameter is not None

    @cached_property
    def _tasks_parameter(self) -> inspect.Parameter | None:
        return tasks_parameter(self.function, self.input)

    def bound_to(self, service: Any) -> InferenceAPI:
        """The same api, of one service instance."""
        return replace(self, service=service)

    def call(self, args: tuple[Any, ...], tasks: Sequence[InferenceTask] | None = None) -> Any:
        """What the user's function returns for ``args``, one value for each input of the adapter.

        ``tasks``: one for each row of the batch; with batch=False exactly one. They are passed only to a function that
        takes them. What the function raises comes through as it is.
        """
        if self.service is None:
            raise UsageError(f"api {self.name!r} belongs to a class; make a service of it, then ask that for the api")
        parameter = self._tasks_parameter
        if parameter is None or tasks is None:
            return self.function(self.service, *args)
        value = list(tasks) if self.batch else tasks[0]
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY or parameter.name not in _TASK_NAMES:
            return self.function(self.service, *args, value)
        return self.function(self.service, *args, **{parameter.name: value})

    def describe(self) -> dict[str, Any]:
        """What the bundle's manifest says about this api, as JSON values, under the keys of BentoML 0.13 and ours."""
        return {
            "name": self.name,
            "docs": self.doc,
            "input_type": type(self.input).__name__,
            "output_type": type(self.output).__name__,
            "mb_max_batch_size": self.mb_max_batch_size,
            "mb_max_latency": self.mb_max_latency,
            "batch": self.batch,
            "route": self.route,
            "input_config": self.input.config(),
            "output_config": self.output.config(),
            "output_schema": None if self.output_schema is None else schema_as_text(self.output_schema),
            "row_independent": self.row_independent,
            "expect": list(self.expect),
        }


def tasks_parameter(function: Callable[..., Any], adapter: InputAdapter) -> inspect.Parameter | None:
    """The parameter that takes the tasks: one named task or tasks, or a required one beyond the adapter's inputs.

    Raises:
        UsageError: the function takes fewer values than the adapter gives.
    """
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters[1:]:
        if parameter.name in _TASK_NAMES and parameter.kind not in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        ):
            return parameter
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    open_ended = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    inputs = input_count(adapter)
    if len(positional) < 1 + inputs and not open_ended:
        raise UsageError(
            f"{function.__qualname__} takes {max(len(positional) - 1, 0)} value(s) beside self, but {type(adapter).__name__} "
            f"gives {inputs}: declare it as def {function.__name__}(self, {', '.join(_argument_names(adapter))})"
        )
    if len(positional) > 1 + inputs and positional[1 + inputs].default is inspect.Parameter.empty:
        return positional[1 + inputs]
    return None


def input_count(adapter: InputAdapter) -> int:
    """How many values the adapter gives: one, or one for each of its ``input_names``."""
    return len(getattr(adapter, "input_names", None) or (None,))


def _argument_names(adapter: InputAdapter) -> Sequence[str]:
    return getattr(adapter, "input_names", None) or ("data",)
