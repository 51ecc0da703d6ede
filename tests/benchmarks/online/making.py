"""This module makes what is measured online: the two models, as bundles and as files for servers written by hand."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import orjson
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from costly_service import Costly  # noqa: E402 - found beside this script
from light_service import Light  # noqa: E402

FEATURES = 20


@dataclass(frozen=True)
class Workload:
    """A model in all forms. ``body``: a request of one row."""

    name: str
    bundle: Path
    model: Path
    body: bytes


def make(folder: Path) -> dict[str, Workload]:
    """S1 and S2, made in ``folder`` where they are not there yet."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((2_000, FEATURES)), columns=[f"f{number}" for number in range(FEATURES)])
    target = (frame.f0 + frame.f1 > 1).astype(int)
    body = orjson.dumps(frame.iloc[:1].to_numpy().tolist())
    kinds = {
        "S1": (Light, LogisticRegression(max_iter=200)),
        "S2": (Costly, RandomForestClassifier(n_estimators=300, max_depth=10, random_state=0)),
    }
    made = {}
    for name, (service, model) in kinds.items():
        bundle, file = folder / name / "bundle", folder / name / "model.joblib"
        if not file.exists():
            model.fit(frame.to_numpy(), target)
            file.parent.mkdir(parents=True, exist_ok=True)
            service().pack("model", model).save_to_dir(str(bundle))
            joblib.dump(model, file)
        made[name] = Workload(name, bundle, file, body)
    return made
