"""This module tests which distributions a bundle asks for, and how they are pinned."""

from __future__ import annotations

import importlib.metadata
import logging
from pathlib import Path

import pytest

from bentobatch.bundle import origins
from bentobatch.bundle.requirements import inferred_requirements, owners, pinned
from tests.bundle.projects import on_search_path, write_files


def installed(name: str) -> str:
    return f"{name}=={importlib.metadata.version(name)}"


def test_modules_are_pinned_by_the_distributions_that_own_them() -> None:
    """sklearn is scikit-learn, yaml is PyYAML; the standard library and what is not installed are left out."""
    lines = inferred_requirements(
        imported=["sklearn.svm", "yaml", "os.path", "sys", "no_such_module"], own="bentobatch==1.2"
    )
    assert lines == ["bentobatch==1.2", installed("PyYAML"), installed("scikit-learn")]


def test_a_stand_in_for_a_needed_distribution_is_pinned_in_its_place(tmp_path: Path) -> None:
    """xgboost-cpu provides the module xgboost: asking for xgboost as well would install both."""
    files = {
        "engine_thing/__init__.py": "",
        "engine_thing_cpu-3.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: engine-thing-cpu\nVersion: 3.1\n",
        "engine_thing_cpu-3.1.dist-info/RECORD": "engine_thing/__init__.py,,\n",
        "engine_thing_cpu-3.1.dist-info/top_level.txt": "engine_thing\n",
    }
    with on_search_path(write_files(tmp_path, files)):
        assert inferred_requirements(needed=["engine-thing"], own="bentobatch==1") == [
            "bentobatch==1", "engine-thing-cpu==3.1",
        ]  # fmt: skip


def test_a_local_version_is_no_part_of_the_pin(tmp_path: Path) -> None:
    """2.1.0+cpu is on no index; ==2.1.0 accepts it."""
    files = {"tt-2.1.0+cpu.dist-info/METADATA": "Metadata-Version: 2.1\nName: tt\nVersion: 2.1.0+cpu\n"}
    with on_search_path(write_files(tmp_path, files)):
        assert pinned("tt") == "tt==2.1.0"
    assert pinned("not-installed-at-all") == "not-installed-at-all"


def test_of_distributions_that_share_a_namespace_only_the_imported_one_is_asked_for(tmp_path: Path) -> None:
    """from cloudy import storage needs cloudy-storage, not cloudy-compute."""
    for part in ("storage", "compute"):
        info = f"cloudy_{part}-1.0.dist-info"
        files = {
            f"cloudy/{part}/__init__.py": "",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: cloudy-{part}\nVersion: 1.0\n",
            f"{info}/RECORD": f"cloudy/{part}/__init__.py,,\n{info}/METADATA,,\n",
        }
        write_files(tmp_path, files)
    with on_search_path(tmp_path):
        assert owners(["cloudy", "cloudy.storage", "cloudy.storage.Client"]) == {"cloudy-storage"}
        assert owners(["cloudy.compute"]) == {"cloudy-compute"}


def test_local_modules_and_bentobatch_itself_are_no_distributions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are in the bundle, or asked for by their own line; nothing is warned about."""
    with on_search_path(write_files(tmp_path, {"mine.py": ""})), caplog.at_level(logging.WARNING):
        assert owners(["mine", "bentobatch.adapters", "bentobatch_spark"]) == set()
    assert caplog.records == []


def test_owners_are_found_by_files_as_well_as_by_the_standard_library() -> None:
    """Python 3.10's own table misses distributions without a top_level.txt, such as numpy's wheel."""
    by_files = origins.distributions_by_module()
    known = importlib.metadata.packages_distributions()
    for module in ("numpy", "pandas", "pyarrow", "sklearn", "yaml", "click"):
        assert set(by_files[module]) >= set(known.get(module, ())), module
