"""Tests of the program on old bundles: run with every executor, info, list and migrate, with code in children only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from bentobatch.bundle.manifest import read_manifest
from tests.legacy.layout import SERVICE, write_bundle

ROOT = Path(__file__).resolve().parents[2]
SLOW_STARTERS = SERVICE.replace("return df", "from bentoml.types import InferenceTask\n        return df")


def bentobatch(
    *arguments: str | Path, path: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    python_path = os.pathsep.join([str(ROOT), *([str(path)] if path else [])])
    return subprocess.run(
        [sys.executable, "-m", "bentobatch", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": python_path, **(env or {})},
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("legacy") / "old", SLOW_STARTERS)


@pytest.mark.parametrize("executor", ["inline", "threads", "processes"])
def test_run_scores_a_file_with_every_executor(
    executor: str, old: Path, tmp_path: Path, installed_bentoml: Path
) -> None:
    """Several splits and workers, a bentoml on the search path of leader and workers that nobody may touch."""
    pd.DataFrame({"x": range(40)}).to_csv(tmp_path / "in.csv", index=False)
    done = bentobatch(
        *("run", old, "predict", "--input-file", tmp_path / "in.csv", "--output-file", tmp_path / "out.parquet"),
        *("--executor", executor, "--workers", "2", "--split-rows", "10"),
        path=installed_bentoml,
    )
    assert done.returncode == 0, done.stderr
    assert pd.read_parquet(tmp_path / "out.parquet")["prediction"].tolist() == [2.0 * row for row in range(40)]
    assert not list(installed_bentoml.rglob("touched"))


def test_run_info_and_list_work_by_tag_in_the_repository(home: Path) -> None:
    """The folder is put into the repository as it is; its digest is computed, and pins it."""
    place = home / "repository" / "Doubler" / "20210831111223_0A1B2C"
    write_bundle(place, SLOW_STARTERS)
    done = bentobatch("run", "Doubler:latest", "--input", '[{"x": 4}]', "--quiet")
    assert (done.returncode, done.stdout) == (0, '{"prediction":8.0}\n'), done.stderr
    listed = bentobatch("list")
    assert listed.returncode == 0, listed.stderr
    assert "Doubler:20210831111223_0A1B2C" in listed.stdout
    assert "predict<DataframeInput:DefaultOutput>" in listed.stdout
    info = bentobatch("info", "Doubler:20210831111223_0A1B2C")
    assert info.returncode == 0, info.stderr
    shown = json.loads(info.stdout)
    assert shown["version"] == "0.13.1"
    assert shown["digest"] == read_manifest(place).digest


def test_run_takes_an_archive_with_its_digest(old: Path, tmp_path: Path) -> None:
    """URL@sha256:… and archives know an old bundle by the computed digest."""
    with tarfile.open(tmp_path / "old.tar.gz", "w:gz") as archive:
        archive.add(old, "old")
    digest = read_manifest(old).digest
    done = bentobatch("run", f"{tmp_path}/old.tar.gz@sha256:{digest}", "--input", '[{"x": 4}]', "--quiet")
    assert (done.returncode, done.stdout) == (0, '{"prediction":8.0}\n'), done.stderr
    wrong = bentobatch("run", f"{tmp_path}/old.tar.gz@sha256:{'0' * 64}", "--input", '[{"x": 4}]', "--quiet")
    assert (wrong.returncode, wrong.stdout) == (65, "")


def test_migrate_says_what_became_of_the_bundle(old: Path, tmp_path: Path) -> None:
    """Folder, tag and digest on stdout; that the code was kept, and why, on stderr. Run gives the same afterwards."""
    done = bentobatch("migrate", old, tmp_path / "new")
    assert done.returncode == 0, done.stderr
    digest = read_manifest(tmp_path / "new").digest
    assert done.stdout == f"Doubler:20210831111223_0A1B2C is now {tmp_path / 'new'}, sha256:{digest}\n"
    assert "imports InferenceTask from bentoml.types" in done.stderr
    assert bentobatch("migrate", old, tmp_path / "new").returncode == 73
    again = bentobatch("run", tmp_path / "new", "--input", '[{"x": 4}]', "--quiet")
    assert again.stdout == '{"prediction":8.0}\n'


def test_a_bundle_whose_code_ends_the_process_costs_migrate_one_line(tmp_path: Path) -> None:
    """It runs in a child: an exit, or worse, becomes a line and an exit code, and nothing is left behind but it."""
    root = write_bundle(tmp_path / "old", "import os\nprint('noise')\nos._exit(3)\n")
    done = bentobatch("migrate", root, tmp_path / "place" / "new")
    assert done.returncode == 65
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].endswith("its code ended the process with status 3 while it was loaded")
    assert not (tmp_path / "place" / "new").exists()


def test_a_model_that_does_not_load_ends_run_in_one_line(tmp_path: Path) -> None:
    """With the library, its version, and what to install; exit 2 where the library is missing altogether."""
    model = b"\x80\x04\x8c\x0eno_such_models\x8c\x05Model\x93)R."
    done = bentobatch("run", write_bundle(tmp_path / "old", model=model), "--input", '[{"x": 4}]', "--quiet")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "no-such-models" in done.stderr
    assert "pip install no-such-models" in done.stderr
