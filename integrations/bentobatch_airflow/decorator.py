"""This module is ``@task.bento``: a function returns keywords of the job, and the job is run.

@task.bento(bundle="fraud:latest", keep=["id"])
def score(ds):
    return {"input_file": f"s3://in/{ds}/*.parquet", "output_file": f"s3://out/{ds}/"}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory
from airflow.sdk.definitions.context import context_merge

from bentobatch.errors import UsageError
from bentobatch_airflow.inference import BentoInferenceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class BentoDecoratedOperator(DecoratedOperator, BentoInferenceOperator):  # type: ignore[misc] # Airflow is not checked
    """BentoInferenceOperator whose function says the rest of its keywords when it runs; they are rendered as well."""

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *BentoInferenceOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = DecoratedOperator.template_fields_renderers
    custom_operator_name = "@task.bento"
    overwrite_rtif_after_execution = True

    def execute(self, context: Context) -> Any:
        """Ask the function, then run the job."""
        context_merge(context, self.op_kwargs)
        keywords = self.python_callable(*self.op_args, **self.determine_kwargs(context))
        with self.guarded():
            if not isinstance(keywords, Mapping):
                raise UsageError(
                    f"the function of {self.task_id} must return keywords of the job, such as"
                    f" {{'input_file': …, 'output_file': …}}, not {type(keywords).__name__}"
                )
            self.change(keywords)
        self.render_template_fields(context)
        return super().execute(context)


def bento_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """What ``@task.bento`` calls; ``kwargs`` are those of BentoInferenceOperator."""
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=BentoDecoratedOperator, **kwargs
    )
