"""This module tests that metadata comes in plain and goes out read-only."""

from __future__ import annotations

import copy
import datetime
import enum
import json
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bentobatch.errors import UsageError
from bentobatch.frameworks.metadata import plain, read_only


class Colour(str, enum.Enum):
    RED = "red"


def test_numbers_of_numpy_become_pythons_own() -> None:
    """A score of scikit-learn is a numpy number, which YAML does not know."""
    given = {"accuracy": np.float64(0.5), "counts": np.array([1, 2]), np.str_("n"): np.int64(3), "ok": np.bool_(True)}
    kept = read_only(given, "model")
    assert json.dumps(kept) == '{"accuracy": 0.5, "counts": [1, 2], "n": 3, "ok": true}'
    assert kept["ok"] is True
    assert type(kept["accuracy"]) is float


def test_what_was_kept_survives_yaml() -> None:
    """plain gives what safe_dump can write, equal to what was packed."""
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 6)
    given = {"a": (1, {"b": {2}}), "when": pd.Timestamp(moment), "c": Colour.RED, "flag": False, "none": None, 1: 1.5}
    expected = {"a": [1, {"b": [2]}], "when": moment, "c": "red", "flag": False, "none": None, 1: 1.5}
    kept = read_only(given, "model")
    assert kept == expected
    assert yaml.safe_load(yaml.safe_dump(plain(kept))) == expected
    assert plain(kept)["flag"] is False


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(a=1),
        lambda m: m.pop("a"),
        lambda m: m.__setitem__("a", 1),
        lambda m: m.__delitem__("a"),
        lambda m: m.clear(),
        lambda m: m.setdefault("z", 1),
        lambda m: m.popitem(),
        lambda m: m.__ior__({"z": 1}),
        lambda m: m["a"].append(1),
        lambda m: m["a"].sort(),
        lambda m: m["a"].__setitem__(0, 1),
        lambda m: m["a"].__iadd__([1]),
        lambda m: m["a"][1].update(b=1),
    ],
)
def test_no_change_gets_through(change: Any) -> None:
    """To its depth, by every method that changes a dict or a list."""
    kept = read_only({"a": [3, {"b": 2}]}, "model")
    with pytest.raises(TypeError, match="read-only"):
        change(kept)
    assert kept == {"a": [3, {"b": 2}]}


def test_it_can_be_copied_and_pickled() -> None:
    """A service travels to other processes with it; a copy by dict() may be changed."""
    kept = read_only({"a": [3, {"b": 2}]}, "model")
    assert pickle.loads(pickle.dumps(kept)) == copy.deepcopy(kept) == kept
    loose = dict(kept)
    loose["c"] = 1
    assert "c" not in kept


@pytest.mark.parametrize("given", [1, "text", [("a", 1)], object()])
def test_metadata_that_is_no_dict_is_a_type_error(given: Any) -> None:
    """BentoML 0.13's contract."""
    with pytest.raises(TypeError, match="metadata of artifact 'model' must be a dict"):
        read_only(given, "model")


@pytest.mark.parametrize("value", [object(), b"bytes", 1j, pd.NaT, pd.DataFrame(), lambda: 1])
def test_a_value_that_cannot_be_written_is_named_at_packing(value: Any) -> None:
    """Not at saving, and with the way to it."""
    with pytest.raises(UsageError, match=r"metadata of artifact 'model' at 'a' at 0 is a "):
        read_only({"a": [value]}, "model")


def test_a_value_that_holds_itself_is_refused() -> None:
    """No RecursionError."""
    given: dict[str, Any] = {}
    given["self"] = given
    with pytest.raises(UsageError, match="nested deeper"):
        read_only(given, "model")


def test_none_is_no_metadata() -> None:
    """The default of pack."""
    assert read_only(None, "model") == {}
