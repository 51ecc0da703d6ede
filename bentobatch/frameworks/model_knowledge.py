"""This module asks a model of scikit-learn's manner what it was fitted on, whichever library made it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_INVENTED = re.compile(r"Column_\d+")  # LightGBM's names for the columns of a bare array


def feature_names_of(model: Any) -> list[str] | None:
    """The names of the columns that the model was fitted on, in order; None where it saw none.

    Pipelines answer with their first step, searches with their best estimator.
    """
    names = _of_inner(model, "feature_names_in_")
    return real_names([str(name) for name in names]) if names is not None else None


def feature_count_of(model: Any) -> int | None:
    """How many columns the model was fitted on; None where it does not say."""
    count = _of_inner(model, "n_features_in_")
    return int(count) if count is not None else None


def classes_of(model: Any) -> list[Any] | None:
    """The class labels as Python values; None for a model without, or with several sets of them."""
    classes = _of_inner(model, "classes_", step=-1)
    if classes is None or getattr(classes, "ndim", 1) != 1:
        return None
    values = classes.tolist() if hasattr(classes, "tolist") else list(classes)
    return None if any(hasattr(value, "__len__") and not isinstance(value, str) for value in values) else values


def real_names(names: Sequence[str] | None) -> list[str] | None:
    """``names``, or None where they are the ones that LightGBM invents for a bare array."""
    return None if not names or all(_INVENTED.fullmatch(name) for name in names) else list(names)


def _of_inner(model: Any, attribute: str, *, step: int = 0) -> Any:
    """The attribute of the model, or of the model inside it that decides: a pipeline's step, a search's best one."""
    value = getattr(model, attribute, None)
    if value is None and isinstance(getattr(model, "steps", None), list) and model.steps:
        return _of_inner(model.steps[step][-1], attribute, step=step)
    if value is None and hasattr(model, "best_estimator_"):
        return _of_inner(model.best_estimator_, attribute, step=step)
    return value
