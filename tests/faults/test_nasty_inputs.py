"""Bad input: every row of a table of nasty files, directories and names is scored as it should be, or refused in a line.

Most rows run through the Python API in this process, which is quick; those that may crash a reader, or ask for all
memory, and a sample of each kind run as users run them. BENTOBATCH_NASTY=all runs every row so.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bentobatch.errors import BentobatchError
from bentobatch.runs import run
from tests.faults import nasty_places, nasty_text, nasty_typed
from tests.faults.nasty import MAKERS, Case, Truth

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parents[2]
CASES = (*nasty_text.CASES, *nasty_typed.CASES, *nasty_places.CASES)
BY_COMMAND = {  # BENTOBATCH_NASTY=table, or =all
    "table": {case.name for module in (nasty_text, nasty_typed, nasty_places) for case in module.TABLE},
    "all": {case.name for case in CASES},
}.get(os.environ.get("BENTOBATCH_NASTY", ""), set())
SAMPLE = ("csv/ragged_short.csv", "csv/unclosed_quote.csv", "csv/truncated.csv.gz", "parquet/dup_columns.parquet")
LOST_KEPT = ("invalid_utf8_kept.parquet", "invalid_utf8_in_a_map.parquet", "time_beyond_a_day.parquet")
"""What cannot be read cannot be kept."""


@dataclass
class Ended:
    """How a run ended: its exit code, and what it said on stderr."""

    code: int
    said: str


def test_each_input_is_scored_whole_or_refused(case: Case, weighted: Path, tmp_path: Path) -> None:
    """One output row for each input row, in order, with the model's value or a reject; or one line and no output."""
    source = tmp_path / "in" / case.name if case.name and not case.name.startswith("/") else Path(case.name)
    known = MAKERS[case.name](source) if case.name in MAKERS else None
    given = case.name if case.name.startswith("/") or not case.name else str(source)
    output = tmp_path / "out" / "scored.parquet"
    output.parent.mkdir()
    options = {"keep": ["id"], "max_rejects": "100%", **case.options}
    by_command = case.process or case.name in BY_COMMAND or case.name in SAMPLE
    start = _by_command if by_command else _in_process
    ended = start(weighted, given, output, options, case.memory)
    assert not list(tmp_path.rglob("CANARY_EXECUTED"))
    if case.expect == "error" or (case.expect == "either" and ended.code):
        assert ended.code == case.code, ended.said
        _check_refusal(case, ended, source)
        assert not output.exists()
        return
    assert ended.code == 0, ended.said
    found = pq.read_table(output)
    if known is not None:
        lost = _rejects(output)
        _check_rows(found, known, {item["row"] for item in lost})
        _check_rejects(case, known, lost)
        if case.scored is not None:
            assert (len(known) - len(lost), len(lost)) == (case.scored, case.rejects)
    if not case.name.endswith(("bitflip_nocrc.parquet", "bitflip_snappy.parquet")):
        assert known is not None, "a maker whose rows are scored must tell the truth of them"
    _check_kept(found, options, source)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=[re.sub(r"[^\w./ -]", "_", case.name)[:60] for case in CASES])


def _in_process(bundle: Path, given: str, output: Path, options: dict[str, Any], memory: int | None) -> Ended:
    try:
        run(bundle, "predict", input_file=given, output_file=output, executor="inline", **options)
    except BentobatchError as error:
        return Ended(error.exit_code, f"Error: {error}\n")
    return Ended(0, "")


def _by_command(bundle: Path, given: str, output: Path, options: dict[str, Any], memory: int | None) -> Ended:
    words = [f"--input-file={given}", "--output-file", str(output), "--quiet"]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        else:
            words.append(f"{flag}={','.join(value) if isinstance(value, list) else value}")

    def bound() -> None:
        assert memory is not None
        resource.setrlimit(resource.RLIMIT_AS, (memory << 20, memory << 20))

    done = subprocess.run(
        [sys.executable, "-m", "bentobatch", "run", str(bundle), "predict", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        cwd=output.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=None if memory is None else bound,
    )
    assert done.stdout == b""
    return Ended(done.returncode, done.stderr.decode())


def _check_refusal(case: Case, ended: Ended, source: Path) -> None:
    if "reader crashed on" in ended.said:  # C++ says why before it aborts, on the same stderr
        ended = Ended(ended.code, re.sub(r"\Aterminate called after .*\n  what\(\): .*\n", "", ended.said))
    assert ended.said.count("\n") == 1, ended.said
    assert "Traceback" not in ended.said
    assert len(ended.said) < 2000
    assert re.search(case.says, ended.said), ended.said
    if case.name.startswith(("csv/", "json/", "parquet/", "arrow/", "orc/")):
        assert source.name in ended.said, ended.said


def _rejects(output: Path) -> list[dict[str, Any]]:
    path = output.with_name(output.name + ".rejects.parquet")
    return pq.read_table(path).to_pylist() if path.exists() else []


def _check_rows(found: Any, known: Truth, lost: set[int]) -> None:
    assert known is not None
    assert found.num_rows == len(known)
    ids, predictions = found["id"].to_pylist(), found["prediction"].to_pylist()
    for place, (key, value) in enumerate(known):
        if value is None:
            assert place in lost, f"row {place} is no reject: {predictions[place]}"
            assert predictions[place] is None
            assert ids[place] in (key, None)
            continue
        assert place not in lost
        assert ids[place] == key
        assert _same(predictions[place], value), (place, predictions[place], value)


def _same(found: float | None, value: float) -> bool:
    if math.isnan(value):
        return found is None or math.isnan(found)
    return found is not None and (found == value or math.isclose(found, value, rel_tol=1e-12))


def _check_rejects(case: Case, known: Truth, lost: list[dict[str, Any]]) -> None:
    assert known is not None
    assert [item["row"] for item in lost] == [place for place, (_, value) in enumerate(known) if value is None]
    for item in lost:
        assert item["file"].endswith(Path(case.name).name)
        assert item["error"]
        assert "\n" not in item["error"]
        assert len(item["error"]) < 1000
        if case.name.startswith(("csv/", "json/")):
            assert item["line"]
            assert item["raw"] is not None or item["values"]
    if case.expect == "rejects" and case.says:
        assert any(re.search(case.says, json.dumps(item, default=repr)) for item in lost)


def _check_kept(found: Any, options: dict[str, Any], source: Path) -> None:
    """Kept columns of typed files come out bit-exact."""
    if source.suffix != ".parquet" or not source.is_file() or source.name in LOST_KEPT:
        return
    for name in options["keep"]:
        if name in found.schema.names:
            with source.open("rb") as stream:
                original = pq.ParquetFile(stream).read(columns=[name])[name]
            assert found[name].combine_chunks().equals(original.combine_chunks().cast(found[name].type))
