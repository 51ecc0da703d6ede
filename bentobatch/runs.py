"""This module is the engine's front door for Python: it resolves a tag and paths, then plans, scores and commits.

``run`` does it all. ``plan``, ``run_split`` and ``commit`` are its three steps for schedulers that call them anywhere;
what passes between them survives JSON, and running any of them twice changes nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bentobatch.bundle.manifest import read_manifest
from bentobatch.engine.driver import Run
from bentobatch.engine.executors import check_executor, crew_for, name_of
from bentobatch.engine.job import DEFAULT_BATCH_BYTES, DEFAULT_BATCH_ROWS, DEFAULT_NULLS, DEFAULT_SPLIT_ROWS, BatchJob
from bentobatch.engine.place import absolute, place_of
from bentobatch.engine.printing import run_and_print
from bentobatch.engine.redrive_job import AS_PARENT, find_parent, redrive_job
from bentobatch.engine.report import Progress, RunReport
from bentobatch.errors import UsageError
from bentobatch.repository.local import resolve

if TYPE_CHECKING:
    from bentobatch.engine.plan import Plan
    from bentobatch.engine.scheduler import Scheduler


def make_job(
    bundle: str | Path,
    api: str = "predict",
    *,
    input: str | Sequence[str] | None = None,
    input_file: str | Path | Sequence[str | Path] | Mapping[str, str | Path | Sequence[str | Path]] | None = None,
    files_root: str | Path | None = None,
    format: str | None = None,
    delimiter: str = ",",
    nulls: Sequence[str] = DEFAULT_NULLS,
    output_file: str | Path | None = None,
    output_format: str | None = None,
    output_column: str = "prediction",
    status_column: str | None = None,
    keep: Sequence[str] = (),
    keep_all: bool = False,
    exclude: Sequence[str] = (),
    features: Sequence[str] | None = None,
    limit: int | None = None,
    batch_rows: int = DEFAULT_BATCH_ROWS,
    batch_bytes: int = DEFAULT_BATCH_BYTES,
    split_rows: int = DEFAULT_SPLIT_ROWS,
    state_dir: str | Path | None = None,
    allow_pickle: bool = True,
    max_rejects: str | int | None = "0",
    max_discards: str | int | None = None,
    expect: Sequence[str] = (),
    rejects_file: str | Path | None = None,
    overwrite: bool = False,
    only_new: bool = False,
    trust: bool = False,
    env: str | Path | None = None,
    device: str | None = None,
    trust_types: Sequence[str] = (),
) -> BatchJob:
    """The job that these options describe, with its tag resolved and its paths absolute.

    ``bundle`` is the folder of a bundle, a tag of the local repository (NAME:VERSION or NAME:latest), an archive, or a
    URL with its digest pinned (``URL@sha256:…``); ``trust`` takes a URL without. A model file will do as well: an .onnx
    or .skops file (``trust_types`` names types that the latter may make), or the folder of an MLflow model. ``input`` is one
    inline value or several, ``input_file`` one path, glob, directory or URL, or several, or for an api with several inputs
    a dict of these by the inputs' names. ``files_root`` is the folder of the files that a column of paths names, by
    default the table's own. ``max_rejects`` and
    ``max_discards`` are a count or a share such as "1%"; None is no limit. ``expect`` holds what must be true of the output
    before it is committed, as lines of the grammar in bentobatch.expectations. ``batch_rows`` and ``batch_bytes`` bound one
    call of the api, ``split_rows`` what is lost when a worker dies. ``only_new`` scores the files that the output, a
    directory, does not hold yet (by path, size and stamp, whatever bundle scored them), and adds them to it. ``env`` is the
    environment that the workers run in: "current" (or None), "bundle", "bundle:3.12", or a path; see docs/environments.md.
    ``device`` is where models that can lie on a GPU are loaded: "auto", "cpu", "cuda:0"; see docs/devices.md.

    Raises:
        NoInputError: no such bundle.
        UsageError: the options contradict each other.
    """
    folder = resolve(str(bundle), trust=trust, trust_types=trust_types)
    manifest = read_manifest(folder)
    named = input_file if isinstance(input_file, Mapping) else {}
    plain = None if isinstance(input_file, Mapping) else input_file
    job = BatchJob(
        bundle=str(folder.resolve()),
        bundle_digest=manifest.digest,
        bundle_tag=str(manifest.tag),
        api=api,
        inputs=tuple(_several(input)),
        input_files=_paths(plain),
        named_files=tuple((name, _paths(paths)) for name, paths in named.items()),
        files_root=None if files_root is None else absolute(str(files_root)),
        format=format,
        delimiter=delimiter,
        nulls=tuple(nulls),
        output_file=None if output_file is None else _output(str(output_file)),
        output_format=output_format,
        output_column=output_column,
        status_column=status_column,
        keep=tuple(keep),
        keep_all=keep_all,
        exclude=tuple(exclude),
        features=None if features is None else tuple(features),
        limit=limit,
        batch_rows=batch_rows,
        batch_bytes=batch_bytes,
        split_rows=split_rows,
        state_dir=None if state_dir is None else absolute(str(state_dir)),
        allow_pickle=allow_pickle,
        max_rejects=None if max_rejects is None else str(max_rejects),
        max_discards=None if max_discards is None else str(max_discards),
        expect=tuple(_several(expect)),
        rejects_file=None if rejects_file is None else absolute(str(rejects_file)),
        overwrite=overwrite,
        only_new=only_new,
        env=None if env is None else _env(str(env)),
        device=device,
    )
    if only_new and place_of(job).single:
        raise UsageError(
            f"--only-new adds parts to a directory, and {job.output_file} is one file: give a directory as output"
        )
    return job


def run(
    bundle: str | Path,
    api: str = "predict",
    *,
    executor: str | Scheduler = "auto",
    workers: int | None = None,
    executor_options: Mapping[str, Any] | None = None,
    split_timeout: float | None = None,
    restart: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    isolated: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    print_to: BinaryIO | None = None,
    break_lock: bool = False,
    metrics_file: str | Path | None = None,
    **options: Any,
) -> RunReport:
    """Score an input with a bundle; all keywords of ``make_job`` are taken too, and those of ``run_job``.

    Raises:
        BentobatchError: one of its subclasses, each with its ``exit_code``; see bentobatch.errors.
    """
    check_executor(executor, workers, executor_options)
    return run_job(
        make_job(bundle, api, **options),
        executor=executor,
        workers=workers,
        executor_options=executor_options,
        split_timeout=split_timeout,
        restart=restart,
        storage_options=storage_options,
        isolated=isolated,
        on_progress=on_progress,
        print_to=print_to,
        break_lock=break_lock,
        metrics_file=metrics_file,
    )


def run_job(
    job: BatchJob,
    *,
    executor: str | Scheduler = "auto",
    workers: int | None = None,
    executor_options: Mapping[str, Any] | None = None,
    split_timeout: float | None = None,
    restart: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    isolated: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    print_to: BinaryIO | None = None,
    break_lock: bool = False,
    metrics_file: str | Path | None = None,
) -> RunReport:
    """Score what a job says.

    ``executor`` is "auto", "inline", "threads", "processes", a scheduler by its name ("dask", "spark", "celery"), with
    ``executor_options`` for it, or an open scheduler; ``workers`` how many threads or processes (default: the cores).
    ``split_timeout`` is in seconds and needs child processes. ``restart`` forgets what earlier runs scored.
    ``isolated`` runs user code and native readers in child processes only, whatever the executor, as the command line
    does; without it "inline" and "threads" run in this process, and a model that ends the process ends the caller.
    ``storage_options`` go to fsspec and are never written or sent anywhere; a scheduler's workers have their own (see
    engine.remote). ``print_to`` gets JSON lines, after the commit, when there is no ``output_file``. ``break_lock`` takes
    the lease on an output in a bucket from the run that holds it, which then stops (75) and cannot commit.
    ``metrics_file`` is a Prometheus textfile (NAME.prom, or a directory) that tells of the run, also of one that fails;
    the default is the environment's BENTOBATCH_METRICS_FILE.

    Raises:
        BentobatchError: one of its subclasses, each with its ``exit_code``; see bentobatch.errors.
    """
    check_executor(executor, workers, executor_options)
    if job.output_file is None and print_to is None:
        raise UsageError("no output_file, and nowhere to print to: give one of output_file and print_to")
    crew = crew_for(
        executor,
        isolated=isolated,
        workers=workers,
        storage_options=storage_options,
        split_timeout=split_timeout,
        options=executor_options,
        env=job.env,
    )

    def drive(of: BatchJob) -> RunReport:
        return Run(
            of,
            crew,
            executor=name_of(executor),
            workers=workers,
            restart=restart,
            on_progress=on_progress,
            storage_options=storage_options,
            break_lock=break_lock,
            metrics_file=metrics_file,
        ).run()

    try:
        if job.output_file is not None:
            return drive(job)
        assert print_to is not None
        return run_and_print(job, drive, print_to)
    finally:
        crew.close()


def redrive(
    output: str | Path,
    bundle: str | Path | None = None,
    *,
    max_rejects: str | int | None = AS_PARENT,
    max_discards: str | int | None = AS_PARENT,
    executor: str | Scheduler = "auto",
    workers: int | None = None,
    executor_options: Mapping[str, Any] | None = None,
    split_timeout: float | None = None,
    restart: bool = False,
    state_dir: str | Path | None = None,
    storage_options: Mapping[str, Any] | None = None,
    isolated: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    trust: bool = False,
    metrics_file: str | Path | None = None,
    env: str | Path | None = AS_PARENT,
) -> RunReport:
    """Score the rejected and discarded rows of a committed output again, after the model or the data was mended, and
    merge them into it. Rows that were fine are not scored again, and keep their values bit for bit.

    ``bundle`` scores them, by default the one that made the output, as its folder is now. Rows are known by their file
    and their position in it, so a mended file must have as many rows as before. Rows that are still bad stay rejects, in
    a new rejects file. ``max_rejects`` is a count of rows, a share of the output's rows, or None for no limit; the
    default lets as many rows be rejected as are now. That of ``max_discards`` is the limit which the output's own run
    had. ``env`` is as for ``make_job``, by default that of the output's own run. ``state_dir`` must be given where that run
    had it. The other keywords are those of ``run_job``.

    Raises:
        BentobatchError: one of its subclasses, each with its ``exit_code``; see bentobatch.errors.
    """
    folder = None if state_dir is None else str(state_dir)
    parent, earlier = find_parent(str(output), state_dir=folder, storage_options=storage_options)
    scorer = resolve(parent.bundle if bundle is None else str(bundle), trust=trust)
    manifest = read_manifest(scorer)
    job = redrive_job(
        parent,
        earlier,
        bundle=(str(scorer.resolve()), manifest.digest, str(manifest.tag)),
        max_rejects=None if max_rejects is None else str(max_rejects),
        max_discards=None if max_discards is None else str(max_discards),
    )
    if env != AS_PARENT:
        job = replace(job, env=None if env is None else _env(str(env)))
    return run_job(
        job,
        executor=executor,
        workers=workers,
        executor_options=executor_options,
        split_timeout=split_timeout,
        restart=restart,
        storage_options=storage_options,
        isolated=isolated,
        on_progress=on_progress,
        metrics_file=metrics_file,
    )


def describe(
    bundle: str | Path,
    api: str = "predict",
    *,
    storage_options: Mapping[str, Any] | None = None,
    isolated: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """What ``run`` with the same keywords would do: files, splits, features and by which rule, columns read, rows, and
    what is done already. The first rows are scored, to find the output's columns; nothing is left behind."""
    job = make_job(bundle, api, **options)
    printed = job.output_file is None
    with tempfile.TemporaryDirectory(prefix="bentobatch-") as folder:
        if printed:
            job = replace(job, output_file=f"{folder}/output.jsonl")
        crew = crew_for("auto", isolated=isolated, storage_options=storage_options, env=job.env)
        try:
            summary = crew.plan(job, keep=False)
        finally:
            crew.close()
    return {
        "plan_id": summary.plan_id,
        "bundle": job.bundle_tag,
        "api": job.api,
        "rows": summary.rows,
        "rows_done": summary.rows if summary.record else sum(summary.takes[index] for index in summary.done),
        "splits": len(summary.takes),
        "splits_done": len(summary.takes) if summary.record else len(summary.done),
        "committed": summary.record is not None,
        "features": list(summary.features),
        "feature_rule": summary.feature_rule,
        **summary.details,
        **(dict.fromkeys(("output", "state", "rejects_file")) if printed else {}),
    }


def plan(
    job: BatchJob | str | Path,
    api: str = "predict",
    *,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """Cut a job's input into splits; ``Plan.to_json`` and ``Plan.from_json`` carry it anywhere.

    The job is a BatchJob, or a bundle with the keywords of ``make_job``; it needs an output file. The plan is kept beside
    the output, and what earlier runs finished of it is taken over.

    Raises:
        UsageError: keywords beside a BatchJob, or no output file.
    """
    if not isinstance(job, BatchJob):
        job = make_job(job, api, **options)
    elif options:
        raise UsageError(f"a BatchJob has its options already: {', '.join(options)}")
    if job.output_file is None:
        raise UsageError("a plan needs an output_file: its parts are kept beside it")
    session = _session(job, storage_options)
    session.make_plan()
    made: Plan = session.plan
    return made


def run_split(plan: Plan, index: int, *, storage_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Score one split; it leaves one part and its receipt beside the output. The receipt as JSON values.

    A split that is finished is not scored again. The bundle is loaded once per process.
    """
    session = _session(plan.job, storage_options)
    session.use_plan(plan)
    receipt: dict[str, Any] = asdict(session.run_split(index))
    return receipt


def commit(plan: Plan, *, storage_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make the parts of a plan whose splits are all finished visible, at once. The record of the commit.

    Raises:
        StorageError: a split is not finished.
        TooManyRejectsError: more rows were lost than the job's limits allow.
        LockedError: another run works on this output.
    """
    from bentobatch.engine.kinds import commit_of  # a leader that only runs children does without pyarrow
    from bentobatch.engine.lease import take_lease

    with take_lease(place_of(plan.job), storage_options) as lease:
        return commit_of(plan, storage_options=storage_options, lease=lease).run()


def _session(job: BatchJob, storage_options: Mapping[str, Any] | None) -> Any:
    from bentobatch.engine.session import Session  # as in commit

    if job.env is not None:
        raise UsageError("this works in your own process and environment: leave env out, or use run or run_job")
    return Session(job, storage_options=storage_options)


def _env(text: str) -> str | None:
    from bentobatch.environments.choosing import checked_env  # most runs do without

    return checked_env(text)


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, (str, Path)) else list(value)


def _paths(value: Any) -> tuple[str, ...]:
    names = [str(name) for name in _several(value)]
    return tuple(absolute(name) if name else name for name in names)


def _output(path: str) -> str:
    """An absolute output path; a '/' at its end, which asks for a directory, is kept."""
    made = absolute(path)
    return f"{made}/" if path.endswith("/") and not made.endswith("/") else made
