"""This module is an operator's keywords: those of ``bentobatch.run``, rendered, and made into a job when it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bentobatch.errors import UsageError
from bentobatch_airflow.assets import asset_of
from bentobatch_airflow.pinning import pinned
from bentobatch_airflow.task import BentoTask

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bentobatch.engine.job import BatchJob


class BentoJobTask(BentoTask):
    """A task that makes a job; its keywords are those of ``bentobatch.runs.make_job``, under their names.

    None leaves a keyword at the engine's default, but for ``max_rejects`` and ``max_discards``, where it is no limit.
    ``overwrite`` is on unless ``only_new`` is: a corrected input must flow (the command line refuses). A plan that is
    committed already is left as it is either way.

    Without ``outlets`` of their own these are the asset of the output, where its path says one while the DAG is parsed.
    """

    template_fields: Sequence[str] = (
        *("bundle", "api", "input", "input_file", "files_root", "output_file", "rejects_file", "state_dir"),
        *("keep", "exclude", "features", "expect", "max_rejects", "max_discards", "conn_id", "env", "device"),
    )

    def __init__(
        self,
        *,
        bundle: str | None = None,
        api: str = "predict",
        input: str | Sequence[str] | None = None,
        input_file: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
        files_root: str | None = None,
        format: str | None = None,
        delimiter: str | None = None,
        nulls: Sequence[str] | None = None,
        output_file: str | None = None,
        output_format: str | None = None,
        output_column: str | None = None,
        status_column: str | None = None,
        keep: Sequence[str] | None = None,
        keep_all: bool | None = None,
        exclude: Sequence[str] | None = None,
        features: Sequence[str] | None = None,
        limit: int | None = None,
        batch_rows: int | None = None,
        batch_bytes: int | None = None,
        split_rows: int | None = None,
        state_dir: str | None = None,
        allow_pickle: bool | None = None,
        max_rejects: str | int | None = "0",
        max_discards: str | int | None = None,
        expect: Sequence[str] | None = None,
        rejects_file: str | None = None,
        overwrite: bool | None = None,
        only_new: bool = False,
        trust: bool = False,
        trust_types: Sequence[str] = (),
        env: str | None = None,
        device: str | None = None,
        split_timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        # a mapped task is given its outlets when it is unmapped, and the scheduler knows of no others
        derived = None if "outlets" in kwargs else asset_of(output_file)
        super().__init__(**({**kwargs, "outlets": [derived]} if derived else kwargs))
        self.bundle, self.api = bundle, api
        self.input, self.input_file, self.files_root = input, input_file, files_root
        self.output_file, self.rejects_file, self.state_dir = output_file, rejects_file, state_dir
        self.keep, self.exclude, self.features, self.expect = keep, exclude, features, expect
        self.max_rejects, self.max_discards = max_rejects, max_discards
        self.env, self.device = env, device
        self.split_timeout = split_timeout
        self.fixed: dict[str, Any] = {
            "format": format,
            "delimiter": delimiter,
            "nulls": nulls,
            "output_format": output_format,
            "output_column": output_column,
            "status_column": status_column,
            "keep_all": keep_all,
            "limit": limit,
            "batch_rows": batch_rows,
            "batch_bytes": batch_bytes,
            "split_rows": split_rows,
            "allow_pickle": allow_pickle,
            "overwrite": not only_new if overwrite is None else overwrite,
            "only_new": only_new,
            "trust": trust,
            "trust_types": tuple(trust_types),
        }

    def keywords(self) -> dict[str, Any]:
        """The keywords of ``make_job`` as they were rendered, but for bundle and api."""
        rendered = {name: getattr(self, name) for name in _RENDERED}
        given = {name: value for name, value in {**rendered, **self.fixed}.items() if value is not None}
        return {**given, "max_rejects": self.max_rejects, "max_discards": self.max_discards}

    def change(self, keywords: Mapping[str, Any]) -> None:
        """Take other values for some keywords, as a decorated function gives them.

        Raises:
            UsageError: there is no such keyword.
        """
        known = {"bundle", "api", *_RENDERED, "max_rejects", "max_discards", *self.fixed}
        if unknown := sorted(keywords.keys() - known):
            raise UsageError(f"a job has no {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        for name, value in keywords.items():
            if name in self.fixed:
                self.fixed[name] = value
            else:
                setattr(self, name, value)

    def make_job(self, context: Context) -> BatchJob:
        """The job, with its tag as it was first understood in this DAG run.

        Raises:
            UsageError: no bundle or no output file, or options that contradict each other.
            NoInputError: no such bundle.
        """
        from bentobatch.runs import make_job  # here: a DAG file is parsed without the engine

        if not self.bundle:
            raise UsageError(f"task {self.task_id} has no bundle: give a tag, a folder or a URL")
        if not self.output_file:
            raise UsageError(f"task {self.task_id} has no output_file: give the path or URL of a file or folder")
        trust = bool(self.fixed["trust"])
        bundle = pinned(str(self.bundle), context["task_state_store"], trust=trust)
        if bundle != self.bundle:
            self.log.info("bundle %s is %s in this DAG run", self.bundle, bundle)
        return make_job(bundle, self.api, **self.keywords())


_RENDERED = (
    *("input", "input_file", "files_root", "output_file", "rejects_file", "state_dir"),
    *("keep", "exclude", "features", "expect", "env", "device"),
)
"""Keywords of ``make_job`` that are rendered and left out when they are None."""
