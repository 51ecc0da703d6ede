"""This module runs a job that has no output file and prints its rows as JSON lines, once they are whole."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from bentobatch.engine.job import BatchJob
from bentobatch.engine.report import RunReport
from bentobatch.errors import TooManyRejectsError, UsageError

_LOG = logging.getLogger("bentobatch")
_COPY = 1 << 20
_TOLD_REJECTS = 20


def run_and_print(job: BatchJob, drive: Callable[[BatchJob], RunReport], print_to: BinaryIO) -> RunReport:
    """Run into a temporary file with ``drive`` and copy it to ``print_to``; nothing of it is resumed."""
    if job.output_format not in (None, "jsonl"):
        raise UsageError(f"without --output-file the output is JSON lines, not {job.output_format}")
    with tempfile.TemporaryDirectory(prefix="bentobatch-") as folder:
        spool, lost = Path(folder) / "output.jsonl", Path(folder) / "rejects.jsonl"
        job = replace(
            job, output_file=str(spool), output_format=None, state_dir=None, rejects_file=job.rejects_file or str(lost)
        )
        try:
            report = drive(job)
        except TooManyRejectsError as error:
            raise TooManyRejectsError(str(error).replace(f"see {lost}", "they are listed above")) from error
        finally:
            _tell_rejects(lost)
        with spool.open("rb") as source:
            shutil.copyfileobj(source, print_to, _COPY)
        print_to.flush()
    return replace(report, output=None, rejects_file=None if report.rejects_file == str(lost) else report.rejects_file)


def _tell_rejects(path: Path) -> None:
    """Log the first rejects of a run that keeps no file of them."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            if number == _TOLD_REJECTS:
                _LOG.warning("more rows were lost; --rejects-file keeps all of them")
                return
            lost = json.loads(line)
            place = f"{lost['file']}" + (f" line {lost['line']}" if lost["line"] else "")
            _LOG.warning(
                "row %d (%s): %s: %s: %s", lost["row"], place, lost["stage"], lost["error_type"], lost["error"]
            )
