"""Tests of bundles that BentoML 0.13.1 itself wrote: they give the values that it gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bentobatch import run
from bentobatch.bundle.load import load
from bentobatch.bundle.migrate import migrate

BUNDLES = Path(__file__).resolve().parents[3] / "shared" / "legacy-bundles"
pytestmark = [
    pytest.mark.skipif(not BUNDLES.is_dir(), reason="there are no bundles of BentoML 0.13 beside this checkout"),
    # scikit-learn says of every model of another version that it is one, which is what these are
    pytest.mark.filterwarnings("ignore:Trying to unpickle estimator"),
    # numpy says of its old name for itself, which pickles of numpy 1 have, that it is old
    pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning"),
    # fitted without feature names, scored with a frame's: so it was under BentoML
    pytest.mark.filterwarnings("ignore:X has feature names:UserWarning"),
]
CASES = [
    ("iris_df", "csv", "predict", {"input_file": ["input.csv"]}),
    ("iris_df", "inline", "predict", {"input": ["[[5.1,3.5,1.4,0.2]]"]}),
    ("iris_df", "inline2", "predict", {"input": ["[[5.1,3.5,1.4,0.2],[6.2,2.9,4.3,1.3]]", "[[7.7,3.0,6.1,2.3]]"]}),
    ("xgb_wine", "csv", "predict", {"input_file": ["input.csv"]}),
    ("local_module", "csv", "predict", {"input_file": ["input.csv"]}),
    ("json_discard", "files", "predict_batch", {"input_file": [f"input{number}.json" for number in range(1, 6)]}),
    ("json_discard", "inline", "predict_batch", {"input": ['{"features":[13.0,2.1,2.4,15.0]}', '{"nope":1}']}),
]


def given(bundle: str, case: str) -> list[Any]:
    """What 0.13.1 printed, one value for each row; None for a row that it refused."""
    found: list[Any] = []
    for line in (BUNDLES / bundle / "expected" / f"{case}.result").read_text().splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            value = None  # an error's text
        found += value if isinstance(value, list) else [value]
    return found


def scored(root: Path, bundle: str, api: str, options: dict[str, Any], folder: Path) -> list[Any]:
    files = [str(BUNDLES / bundle / name) for name in options.get("input_file", ())]
    source = {"input_file": files} if files else {"input": options["input"]}
    run(root, api, **source, output_file=folder / "out.jsonl", max_rejects=None)
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    return [next(iter(row.values())) if len(row) == 1 else list(row.values()) for row in rows]


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return found == pytest.approx(expected, rel=1e-6)
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(same(found[k], expected[k]) for k in found)
        )
    return bool(found == expected)


@pytest.mark.parametrize("migrated", [False, True], ids=["as it is", "migrated"])
@pytest.mark.parametrize(("bundle", "case", "api", "options"), CASES, ids=[f"{each[0]}-{each[1]}" for each in CASES])
def test_the_values_are_those_that_0_13_1_gave(
    bundle: str, case: str, api: str, options: dict[str, Any], migrated: bool, tmp_path: Path
) -> None:
    """Row for row, also after ``migrate``; a refused row is null, in its place."""
    root = BUNDLES / bundle / "bundle"
    if migrated:
        root = Path(migrate(root, tmp_path / "new").folder)
    found, expected = scored(root, bundle, api, options, tmp_path), given(bundle, case)
    assert same(found, expected), f"{found} is not {expected}"


def test_all_of_them_live_in_one_process() -> None:
    """Loaded one after the other, and used in any order."""
    services = {path.parent.name: load(path) for path in sorted(BUNDLES.glob("*/bundle"))}
    assert len(services) >= 4
    for name, service in services.items():
        assert service.inference_apis, name
