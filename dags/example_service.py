"""This module is what the example DAGs score with: a small service, and data for it. It is no DAG.

Your own DAGs need nothing of this: they name a bundle that exists, and inputs that exist.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

import bentobatch
from bentobatch.adapters import DataframeInput
from bentobatch.frameworks.json import JSONArtifact
from bentobatch.repository.local import LocalRepository

NAME = "ExampleScorer"


@bentobatch.artifacts([JSONArtifact("weights")])
class ExampleScorer(bentobatch.BentoService):
    """A score from an amount and an age."""

    @bentobatch.api(
        input=DataframeInput(columns=["amount", "age"], dtype={"amount": "float64", "age": "int64"}), batch=True
    )
    def predict(self, df):  # type: ignore[no-untyped-def]
        weights = self.artifacts.weights
        return weights["amount"] * df["amount"] + weights["age"] * df["age"]


def bundle_for(folder: str) -> str:
    """A folder with the example's bundle in it; one that is there is used."""
    path = Path(folder) / "bundle"
    if not path.exists():
        scorer(0.5).save_to_dir(str(path))
    return str(path)


def save_first() -> None:
    """Save the example into the local repository, unless one of its bundles is there."""
    if not LocalRepository().bundles(NAME):
        scorer(0.5).save()


def scorer(amount: float) -> ExampleScorer:
    """The service with a weight for the amount, ready to be saved."""
    service = ExampleScorer()
    service.pack("weights", {"amount": amount, "age": -0.1})
    return service


def events_for(folder: str, day: str, *, rows: int = 1000, files: int = 1) -> str:
    """CSV files of one day below ``folder`` (those that are there are left as they are), and a folder for their scores. The
    pattern that finds the files."""
    place = Path(folder) / "events" / f"ds={day}"
    place.mkdir(parents=True, exist_ok=True)
    (Path(folder) / "scores").mkdir(exist_ok=True)
    draw = random.Random(day)  # noqa: S311 - made-up data, the same for the same day
    for number in range(files):
        path = place / f"{number}.csv"
        if path.exists():
            continue
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "amount", "age"])
            writer.writerows([row, round(draw.uniform(1, 500), 2), draw.randint(18, 90)] for row in range(rows))
    return str(place / "*.csv")
