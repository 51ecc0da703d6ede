"""This module scores the input with both bundles: beside each other, from one reading, or one after the other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bentobatch import runs
from bentobatch.comparison.pace import Pace, PacedCrew
from bentobatch.comparison.reading import SIDES, ReadingProcess
from bentobatch.engine.driver import Run
from bentobatch.engine.executors import LOCAL, check_executor
from bentobatch.engine.job import BatchJob
from bentobatch.engine.report import Progress, RunReport

_MOMENT = 0.1
OnProgress = Callable[[Progress], None]


def score_apart(jobs: Sequence[BatchJob], **how: Any) -> list[RunReport]:
    """One job after the other, each as ``bentobatch.run`` does; ``how`` is for ``runs.run_job``."""
    return [runs.run_job(job, **how) for job in jobs]


def reads_once(executor: Any, *, isolated: bool) -> bool:
    """Whether both jobs can be scored from one reading: where they run in child processes of this one."""
    return isolated and isinstance(executor, str) and executor in LOCAL


def score_together(
    jobs: Sequence[BatchJob],
    folder: Path,
    *,
    executor: str = "auto",
    workers: int | None = None,
    executor_options: Mapping[str, Any] | None = None,
    split_timeout: float | None = None,
    restart: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    break_lock: bool = False,
    metrics_file: str | Path | None = None,
) -> list[RunReport]:
    """Both jobs beside each other, in worker processes of their own, which get their rows from one process that reads.

    ``workers`` is how many splits each side scores at a time, by default half of the cores.

    Raises:
        BentobatchError: what ended the side that failed first; the other one is stopped.
    """
    check_executor(executor, workers, executor_options)
    each = workers or max(1, _cores() // len(jobs))
    for job in jobs:
        _build_environment(job)
    pace = Pace(SIDES, room=4 * each)
    reading = ReadingProcess(folder / "chunks", storage_options, waits=split_timeout is None)
    both = _Both(on_progress)
    crews: list[PacedCrew] = []
    try:
        reading.start()
        for side, job in zip(SIDES, jobs, strict=True):
            crew = PacedCrew(pace, side, storage_options=storage_options, split_timeout=split_timeout)
            crews.append(crew)
            run = Run(
                replace(job, reading=reading.address(side)),
                crew,
                executor=executor,
                workers=each,
                restart=restart,
                on_progress=both.progress_of(side) if on_progress is not None else None,
                storage_options=storage_options,
                break_lock=break_lock,
                metrics_file=metrics_file,
            )
            both.start(side, run)
        return both.reports()
    finally:
        reading.close()
        both.stop(crews)


class _Both:
    """The two runs, each on a thread, and the first error of any."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._threads: list[threading.Thread] = []
        self._reports: dict[str, RunReport] = {}
        self._latest: dict[str, Progress] = {}
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def start(self, side: str, run: Run) -> None:
        """Begin a side's run."""

        def drive() -> None:
            try:
                report = run.run()
            except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
                self._end(error)
            else:
                self._end(None, side, report)

        thread = threading.Thread(target=drive, name=f"bentobatch-{side}")
        self._threads.append(thread)
        thread.start()

    def _end(self, error: BaseException | None, side: str = "", report: RunReport | None = None) -> None:
        with self._changed:
            if error is not None and self._error is None:
                self._error = error
            if report is not None:
                self._reports[side] = report
            self._changed.notify_all()

    def reports(self) -> list[RunReport]:
        """Those of both, once they have ended; raises the first error of any, at once."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or len(self._reports) == len(SIDES))
            if self._error is not None:
                raise self._error
            return [self._reports[side] for side in SIDES]

    def stop(self, crews: Sequence[PacedCrew]) -> None:
        """End all processes, and with them the threads that wait for them."""
        while True:
            for crew in crews:
                crew.close()  # again and again: a process may just have been started
            for thread in self._threads:
                thread.join(_MOMENT)
            if not any(thread.is_alive() for thread in self._threads):
                break
        for crew in crews:
            crew.close()

    def progress_of(self, side: str) -> OnProgress:
        """What a side tells its progress to: the one that is behind is shown."""

        def tell(progress: Progress) -> None:
            with self._changed:
                self._latest[side] = progress
                behind = min(self._latest.values(), key=lambda each: each.rows_done)
                if behind is progress and self._on_progress is not None:
                    self._on_progress(behind)

        return tell


def _build_environment(job: BatchJob) -> None:
    """Build what the job's ``env`` names, which takes minutes, before anything is begun: nothing waits for it then, and a
    signal ends it. Where a side asks for it again it is there."""
    if job.env is not None:
        from bentobatch.environments.choosing import interpreters_for  # most comparisons do without

        interpreters_for(job.env, job.bundle, job.bundle_digest)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
