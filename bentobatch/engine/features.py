"""This module settles which input columns the api gets, and says by which rule.

The first rule that applies holds: ``--features``; the columns that the api declares; the names that the packed model
was fitted on; all input columns but those kept or excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from bentobatch.engine.job import BatchJob
from bentobatch.errors import DataError, UsageError
from bentobatch.formats.convert import shown_names
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.core import ServiceCore


@dataclass(frozen=True)
class FeatureRule:
    """``names`` is None where only the input itself can tell (the last rule)."""

    names: tuple[str, ...] | None
    rule: str


def feature_rule(job: BatchJob, service: ServiceCore, api: InferenceAPI) -> FeatureRule:
    """What is known of the features before the input is looked at."""
    if job.features is not None:
        if len(set(job.features)) != len(job.features):
            raise UsageError(f"--features names a column twice: {', '.join(job.features)}")
        return FeatureRule(job.features, "named by --features")
    if api.input.columns is not None:
        return FeatureRule(tuple(api.input.columns), f"declared by {type(api.input).__name__}(columns=…)")
    if api.input.batch_only:  # a table adapter: its columns go to the model as they are
        known = {
            tuple(names): artifact.name
            for artifact in service.artifacts.values()
            if (names := artifact.feature_names()) is not None
        }
        if len(known) == 1:
            ((names, artifact),) = known.items()
            return FeatureRule(names, f"known by the packed model {artifact!r}")
    return FeatureRule(None, "all input columns but those kept or excluded")


def known_width(service: ServiceCore) -> int | None:
    """How many features the packed models take, where they agree."""
    counts = {count for artifact in service.artifacts.values() if (count := artifact.feature_count()) is not None}
    return counts.pop() if len(counts) == 1 else None


def settle_features(job: BatchJob, rule: FeatureRule, columns: Sequence[str]) -> tuple[str, ...]:
    """The features of an input with these columns."""
    if rule.names is not None:
        return rule.names
    left_out = {*job.keep, *job.exclude}
    features = tuple(name for name in columns if name not in left_out)
    if not features:
        raise DataError("no column is left for the model: all of them are kept or excluded; name some with --features")
    return features


def settle_kept(job: BatchJob, columns: Sequence[str]) -> tuple[str, ...]:
    """The input columns that are carried along to the output."""
    wanted = [name for name in columns if name not in job.exclude] if job.keep_all else list(job.keep)
    return tuple(dict.fromkeys(wanted))


def check_names(job: BatchJob, kept: Sequence[str], predictions: pa.Schema) -> None:
    """Refuse two output columns of one name.

    Raises:
        UsageError: a prediction or the status column is named like a kept one.
    """
    names = [*kept, *predictions.names, *([job.status_column] if job.status_column else [])]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two output columns would be named {name!r}: rename the prediction with --output-column, the status with"
                " --status-column, or do not keep that input column"
            )


def width_advice(features: Sequence[str], width: int | None, api: InferenceAPI) -> str | None:
    """What to declare where no rule found the features and the model takes another number of them."""
    if width is None or width == len(features):
        return None
    shown = shown_names(features)
    return (
        f"the input has {len(features)} columns ({shown}), but the packed model takes {width} and does not know their names:"
        f" declare them, {type(api.input).__name__}(columns=[…]), or name them with --features"
    )
