"""Tests of bentobatch.cli.signals, through a run that is stopped."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

WAIT = """
keywords["on_progress"](Progress("score", 5, 10, splits_done=3, splits_total=6))
try:
    os.write(2, b"ready\\n")
    time.sleep(60)
finally:
    os.write(2, b"cleaned up\\n")
"""
TO_FILE = ("run", "b", "--input", "1", "--output-file", "out.parquet")


def stopped(process: subprocess.Popen[bytes], number: int, times: int = 1) -> tuple[int, list[bytes]]:
    """The exit code and the lines of a process that got ``number`` once it was ready."""
    assert process.stderr is not None
    first = process.stderr.readline()
    assert b"ready" in first
    for _ in range(times):
        process.send_signal(number)
    rest = process.communicate(timeout=30)[1]
    return process.returncode, rest.splitlines()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_cleans_up_and_says_how_to_go_on(name: str, bentobatch_process) -> None:
    """Exit code 128 + n, one line."""
    number = getattr(signal, name)
    code, lines = stopped(bentobatch_process(*TO_FILE, act=WAIT), number)
    assert code == 128 + number
    line = f"bentobatch: stopped by {name}; the same command goes on from 3 finished splits"
    assert lines == [b"cleaned up", line.encode()]


def test_a_signal_that_comes_twice_is_one_wish(bentobatch_process) -> None:
    """``timeout`` signals the process and its group; the second must not break off the cleaning up."""
    act = WAIT.replace('os.write(2, b"cleaned up', 'time.sleep(0.3); os.write(2, b"cleaned up')
    code, lines = stopped(bentobatch_process(*TO_FILE, act=act), signal.SIGTERM, times=2)
    assert (code, lines[0]) == (143, b"cleaned up")


def test_a_run_that_prints_says_that_nothing_was(bentobatch_process) -> None:
    """Without an output file nothing is resumed."""
    code, lines = stopped(bentobatch_process("run", "b", "--input", "1", act=WAIT), signal.SIGINT)
    assert (code, lines[-1]) == (130, b"bentobatch: stopped by SIGINT; nothing was printed")


def test_a_stop_is_an_event_with_json_logs(bentobatch_process) -> None:
    """With its exit code."""
    code, lines = stopped(bentobatch_process(*TO_FILE, "--log-format", "json", act=WAIT), signal.SIGTERM)
    events = [json.loads(line) for line in lines]  # what others wrote to stderr may come a little later
    assert (code, [event["exit_code"] for event in events if event["level"] == "error"]) == (143, [143])


def test_a_signal_that_is_ignored_from_outside_stays_ignored(bentobatch_process) -> None:
    """nohup keeps its promise."""
    act = """
os.write(2, b"ready\\n")
time.sleep(1)
"""
    process = bentobatch_process(
        *TO_FILE, "--quiet", act=act, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    assert stopped(process, signal.SIGHUP) == (0, [])
