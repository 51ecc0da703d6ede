"""Tests of bentobatch.cli.main: errors become one line and an exit code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from bentobatch import errors
from bentobatch.cli.main import main
from bentobatch.engine.stop import Stopped

RUN = ["run", "bundle", "--input", "1"]


def raising(error: BaseException) -> Callable[[dict[str, Any]], None]:
    """A fake engine's act that raises ``error``."""

    def act(keywords: dict[str, Any]) -> None:
        raise error

    return act


@pytest.mark.parametrize("name", sorted(errors.error_classes()))
def test_every_error_is_one_line_and_its_exit_code(name: str, fake_runs, capfd) -> None:
    """``bentobatch: message`` on stderr, nothing on stdout, no traceback."""
    cls = errors.error_classes()[name]
    fake_runs.act = raising(cls("what happened\nto which thing\x1b"))
    assert main(RUN) == cls.exit_code
    assert capfd.readouterr() == ("", "bentobatch: what happened to which thing\\x1b\n")


def test_the_exit_codes_are_those_of_the_readme() -> None:
    """The table that users read is the one that holds."""
    codes = {cls.exit_code for cls in errors.error_classes().values()}
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    for code in codes | {0, 130, 143}:
        assert f"| {code} |" in readme


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyError("x"), 70, "unexpected KeyError: 'x' (--debug shows more)"),
        (ValueError("a\nb"), 70, "unexpected ValueError: a b (--debug shows more)"),
        (
            OSError(28, "No space left on device", "/tmp/x"),
            74,
            "'/tmp/x': No space left on device (--debug shows more)",
        ),
        (BrokenPipeError(32, "Broken pipe"), 74, "Broken pipe (--debug shows more)"),
        (MemoryError(), 70, "out of memory; give fewer --workers or a smaller --batch-rows (--debug shows more)"),
        (KeyboardInterrupt(), 130, "stopped by SIGINT"),
        (RecursionError("deep"), 70, "unexpected RecursionError: deep (--debug shows more)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_unexpected_error_is_one_line_too(error: BaseException, code: int, line: str, fake_runs, capfd) -> None:
    """It says that --debug shows more. A broken pipe inside the engine is no success: only a closed stdout is."""
    fake_runs.act = raising(error)
    assert main(RUN) == code
    assert capfd.readouterr() == ("", f"bentobatch: {line}\n")


def test_debug_shows_the_traceback_before_the_line(fake_runs, capfd) -> None:
    """The line stays the last one."""
    fake_runs.act = raising(errors.DataError("broken"))
    assert main([*RUN, "--debug"]) == 65
    err = capfd.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("bentobatch: broken\n")


def test_errors_are_json_objects_with_json_logs(fake_runs, capfd) -> None:
    """Every line of stderr is one object; the last has the exit code."""
    fake_runs.act = raising(errors.DataError("bad\udcff file"))
    assert main([*RUN, "--debug", "--log-format", "json"]) == 65
    trace, error = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert "Traceback" in trace["traceback"]
    assert (error["level"], error["message"], error["exit_code"]) == ("error", "bad\\xff file", 65)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--unknown"], "bentobatch: no such option '--unknown' (see bentobatch --help)"),
        (["unknown"], "bentobatch: no such command 'unknown' (see bentobatch --help)"),
        (["run"], "bentobatch: missing argument 'BUNDLE' (see bentobatch run --help)"),
        (["run", "b", "--limit", "x"], "bentobatch: invalid value for '--limit': 'x' is not a valid integer range "),
        (["run", "b"], "bentobatch: nothing to score: give values with --input or files with --input-file"),
        (["run", "b", "p", "extra", "--input", "1"], "bentobatch: got unexpected extra argument (extra) (see "),
        (["run", "b", "--log-format", "xml"], "bentobatch: invalid value for '--log-format': 'xml' is not one of"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(words: list[str], line: str, capfd) -> None:
    """It names the command whose --help tells more."""
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.replace(":", "").startswith(line.replace(":", ""))


def test_a_usage_error_is_json_with_json_logs(capfd) -> None:
    """Even before click has understood the command line."""
    assert main(["run", "b", "--log-format=json", "--unknown"]) == 2
    event = json.loads(capfd.readouterr().err)
    assert (event["exit_code"], event["level"]) == (2, "error")


def test_an_undecodable_file_name_is_shown_escaped(fake_runs, capfd) -> None:
    """No UnicodeEncodeError on the way to stderr."""
    fake_runs.act = raising(errors.NoInputError(f"No such file {os.fsdecode(b'bad-' + bytes([255]))}"))
    assert main(RUN) == 66
    assert capfd.readouterr().err == "bentobatch: No such file bad-\\xff\n"


def test_without_a_command_help_is_shown(capfd) -> None:
    """On stdout, where it can be paged."""
    assert main([]) == 0
    out, err = capfd.readouterr()
    assert "Commands:" in out
    assert err == ""


def test_a_signal_outside_of_a_run_has_its_exit_code(capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    """128 + n, whoever raised it."""

    def act(ctx: click.Context) -> None:
        raise Stopped(15)

    monkeypatch.setattr("bentobatch.cli.main.cli.invoke", act)
    assert main(["list"]) == 143
    assert capfd.readouterr().err == "bentobatch: stopped by SIGTERM\n"


def test_python_dash_m_is_the_same_program(bentobatch_process) -> None:
    """``python -m bentobatch`` works where no script is installed, and calls itself bentobatch."""
    process = bentobatch_process("--help")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"Usage: bentobatch [OPTIONS]")
