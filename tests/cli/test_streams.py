"""Tests of bentobatch.cli.streams: what goes to stdout, and what when nobody reads it. All are processes of their own,
since they are about file descriptors."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

PRINT_EVERYWHERE = """
os.write(1, b"from a library\\n")
subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
keywords["print_to"].write(b'{"prediction":1}\\n')
os.write(1, b"and again\\n")
"""


def test_prints_of_others_go_to_stderr(bentobatch_process) -> None:
    """stdout holds the results and nothing else, whatever a child or a native library prints."""
    process = bentobatch_process("run", "b", "--input", "1", "--quiet", act=PRINT_EVERYWHERE)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b'{"prediction":1}\n')
    assert err == b"from a library\nfrom a child\nand again\n"


def test_with_json_logs_what_others_print_becomes_events(bentobatch_process) -> None:
    """Every line of stderr is an object, or a program that reads it would fail."""
    process = bentobatch_process("run", "b", "--input", "1", "--log-format", "json", act=PRINT_EVERYWHERE)
    out, err = process.communicate(timeout=60)
    events = [json.loads(line) for line in err.splitlines()]
    assert (process.returncode, out) == (0, b'{"prediction":1}\n')
    stray = [event["message"] for event in events if event.get("source") == "stderr"]
    assert stray == ["from a library", "from a child", "and again"]
    assert sum(event["message"] == "report" for event in events) == 1


def test_a_grandchild_that_stays_does_not_hold_the_run(bentobatch_process) -> None:
    """With JSON logs stderr is a pipe inside; somebody may keep its end for ever."""
    act = """subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL)"""
    process = bentobatch_process("run", "b", "--input", "1", "--log-format", "json", act=act)
    assert process.wait(timeout=30) == 0


def test_a_reader_who_leaves_is_no_error(bentobatch_process, tmp_path: Path) -> None:
    """``bentobatch run … | head -1`` is quiet and exits with 0."""
    act = """
for number in range(100_000):
    keywords["print_to"].write(b'{"prediction":%d}\\n' % number)
"""
    process = bentobatch_process("run", "b", "--input", "1", "--quiet", act=act)
    assert process.stdout.readline() == b'{"prediction":0}\n'
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


def test_help_into_a_closed_pipe_is_quiet(bentobatch_process) -> None:
    """The pipe has no reader from the start."""
    read, write = os.pipe()
    os.close(read)
    process = bentobatch_process("run", "--help", stdout=write)
    os.close(write)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0


def test_a_full_disk_under_stdout_is_an_io_error(bentobatch_process) -> None:
    """One line and 74, not Python's complaint at exit."""
    with open("/dev/full", "wb") as full:
        process = bentobatch_process("run", "--help", stdout=full)
    err = process.communicate(timeout=60)[1]
    assert err == b"bentobatch: cannot write to standard output: No space left on device\n"
    assert process.returncode == 74


def test_results_need_a_stdout(bentobatch_process) -> None:
    """A closed stdout is noticed before anything is scored, and nothing else gets its number."""
    process = bentobatch_process(
        "run", "b", "--input", "1", act="raise AssertionError", preexec_fn=lambda: os.close(1), stdout=None
    )
    err = process.communicate(timeout=60)[1]
    assert err == b"bentobatch: standard output is closed: give --output-file\n"
    assert process.returncode == 73


def test_a_run_to_a_file_needs_no_standard_stream(bentobatch_process) -> None:
    """A daemon may have closed all three."""

    def close_all() -> None:
        for fd in (0, 1, 2):
            os.close(fd)

    act = "assert open('x', 'w').fileno() > 2"
    streams = {"stdin": None, "stdout": None, "stderr": None}
    for log_format in ("text", "json"):
        process = bentobatch_process(
            *("run", "b", "--input", "1", "--output-file", "o.parquet", "--log-format", log_format),
            act=act,
            preexec_fn=close_all,
            **streams,
        )
        assert process.wait(timeout=60) == 0


def test_help_that_the_encoding_cannot_show_is_escaped(bentobatch_process) -> None:
    """No UnicodeEncodeError under an ASCII locale."""
    act = "sys.stdout.write('caf\\u00e9\\n')"
    process = bentobatch_process(
        "run", "b", "--input", "1", "--quiet", act=act, env={"PYTHONIOENCODING": "ascii"}, stderr=subprocess.STDOUT
    )
    assert process.communicate(timeout=60)[0] == b"caf\\xe9\n"
