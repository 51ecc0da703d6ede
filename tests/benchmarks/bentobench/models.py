"""This module trains the benchmarks' models and saves each one twice: as a bundle, and as a file for the hand loops."""

from __future__ import annotations

import copy
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bentobench.data import FEATURES, feature_matrix, labels, made

SLOW_STEPS = 6_000
"""Steps of the pure-Python model for each row: about 300 µs where it was set; the results show what they took."""
WIDE_COLUMNS = 5_000
_TRAIN = 20_000


def model_folder(root: Path, name: str) -> Path:
    """The folder of a model: ``bundle`` for bentobatch and ``model.*`` for the loops, made if it is not there."""
    return made(root / "models" / name, {"model": name, "steps": SLOW_STEPS}, lambda path: MAKERS[name](path))


def _frame(matrix: np.ndarray) -> Any:
    import pandas as pd  # here, as all heavy libraries of this module: a run over finished models needs none of them

    names = FEATURES if matrix.shape[1] == len(FEATURES) else [f"w{index:04d}" for index in range(matrix.shape[1])]
    return pd.DataFrame(matrix, columns=names)


def _save(folder: Path, service: str, artifact: str, value: Any, *, module: str = "bench_services") -> None:
    home = str(Path(__file__).resolve().parents[1])
    if home not in sys.path:
        sys.path.insert(0, home)  # the services are a module beside bench.py, which bundles copy
    folder.mkdir(parents=True)
    bento = getattr(importlib.import_module(module), service)()
    bento.pack(artifact, value)
    bento.save_to_dir(str(folder / "bundle"))


def _for_loops(folder: Path, model: Any) -> None:
    import joblib

    plain = copy.deepcopy(model)
    # a loop hands over arrays without names, and would be warned at every call
    if hasattr(plain, "feature_names_in_"):
        del plain.feature_names_in_
    joblib.dump(plain, folder / "model.joblib")


def _logistic(folder: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    matrix = feature_matrix(_TRAIN, stream=8)
    model = LogisticRegression(max_iter=200).fit(_frame(matrix), labels(matrix))
    _save(folder, "Probability", "model", model)
    _for_loops(folder, model)


def _forest(folder: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    matrix = feature_matrix(_TRAIN, stream=8)
    model = RandomForestClassifier(n_estimators=100, max_depth=9, random_state=1, n_jobs=2)
    model.fit(_frame(matrix), labels(matrix))
    model.n_jobs = None  # one thread a call, which is scikit-learn's own default
    _save(folder, "Probability", "model", model)
    _for_loops(folder, model)


def _lightgbm(folder: Path) -> None:
    import lightgbm

    matrix = feature_matrix(2 * _TRAIN, stream=8)
    settings = {"objective": "binary", "num_leaves": 31, "seed": 1, "verbose": -1, "deterministic": True}
    booster = lightgbm.train(settings, lightgbm.Dataset(_frame(matrix), labels(matrix)), num_boost_round=200)
    _save(folder, "Boosted", "model", booster)
    booster.save_model(str(folder / "model.txt"))


def _wide(folder: Path) -> None:
    from sklearn.linear_model import Ridge

    matrix = feature_matrix(2_000, width=WIDE_COLUMNS, stream=8).astype(np.float32)
    model = Ridge().fit(_frame(matrix), matrix[:, :10].sum(axis=1))
    _save(folder, "Value", "model", model)
    _for_loops(folder, model)


def _python_bound(folder: Path) -> None:
    _save(folder, "PythonBound", "settings", {"steps": SLOW_STEPS})
    (folder / "model.json").write_text(json.dumps({"steps": SLOW_STEPS}))


def _brightness(folder: Path) -> None:
    weights = [0.299, 0.587, 0.114]
    _save(folder, "Brightness", "weights", weights, module="bench_images")
    (folder / "model.json").write_text(json.dumps({"weights": weights}))


def _text_length(folder: Path) -> None:
    _save(folder, "TextLength", "settings", {})


MAKERS: dict[str, Callable[[Path], None]] = {
    "logistic": _logistic,
    "forest": _forest,
    "lightgbm": _lightgbm,
    "wide": _wide,
    "python": _python_bound,
    "brightness": _brightness,
    "text_length": _text_length,
}
