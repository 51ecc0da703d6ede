"""This module turns the name of an executor into the crew that serves a run: local ones, and schedulers by plug-in."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from bentobatch import plugins
from bentobatch.engine.crew import Crew
from bentobatch.engine.process_crew import ProcessCrew
from bentobatch.errors import UsageError

if TYPE_CHECKING:
    from bentobatch.engine.scheduler import Scheduler

LOCAL = ("auto", "inline", "threads", "processes")


def known() -> tuple[str, ...]:
    """The names of all executors, those that other distributions add included."""
    added = {entry.name for entry in entry_points(group="bentobatch.executors")}
    return (*LOCAL, *sorted({*plugins.TABLES["executors"], *added}))


def check_executor(executor: str | Scheduler, workers: int | None, options: Mapping[str, Any] | None = None) -> None:
    """Refuse what no run could be made with.

    Raises:
        UsageError: no such executor, no number of workers, or options of a scheduler for an executor that is none.
    """
    listed = (*LOCAL, *plugins.TABLES["executors"])
    if isinstance(executor, str) and executor not in listed and executor not in known():  # the latter takes a while
        raise UsageError(f"no executor is named {executor!r}; known are {', '.join(known())}")
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1, not {workers}")
    if isinstance(executor, str) and executor in LOCAL and options:
        raise UsageError(f"the executor {executor!r} takes no {', '.join(options)}: name a scheduler with it")


def crew_for(
    executor: str | Scheduler,
    *,
    isolated: bool,
    workers: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    split_timeout: float | None = None,
    options: Mapping[str, Any] | None = None,
    env: str | None = None,
) -> Crew:
    """The crew of a run. ``executor`` is a name or an open scheduler; ``options`` go to the scheduler that it names.
    With an ``env`` (see BatchJob) the bundle runs in child processes.

    Raises:
        UsageError: nothing is registered under that name.
        MissingDependencyError: the scheduler's library is not installed.
    """
    if not isinstance(executor, str) or executor not in LOCAL:
        from bentobatch.engine.scheduler import SchedulerCrew  # a local run does without what it brings in

        scheduler = _scheduler(executor, workers, options) if isinstance(executor, str) else executor
        return SchedulerCrew(scheduler, storage_options=storage_options, split_timeout=split_timeout)
    if isolated or executor == "processes" or split_timeout is not None or env is not None:
        return ProcessCrew(storage_options=storage_options, split_timeout=split_timeout)
    from bentobatch.engine.local_crew import LocalCrew  # a leader that only runs children does without pyarrow

    return LocalCrew(storage_options=storage_options)


def _scheduler(name: str, workers: int | None, options: Mapping[str, Any] | None) -> Scheduler:
    try:
        made = plugins.find("executors", name)(workers=workers, **(options or {}))
    except TypeError as error:
        raise UsageError(f"the executor {name!r} does not take these options: {', '.join(options or {})}") from error
    scheduler: Scheduler = made
    return scheduler


def name_of(executor: str | Scheduler) -> str:
    """The executor's name for the report."""
    return executor if isinstance(executor, str) else executor.name
