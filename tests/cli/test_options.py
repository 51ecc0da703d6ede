"""Tests of bentobatch.cli.options: what --help promises."""

from __future__ import annotations

import inspect

import click
import pytest

from bentobatch.cli.run import run_command
from bentobatch.engine.job import BatchJob

OPTIONS = [param for param in run_command.params if isinstance(param, click.Option)]
PARSED = run_command.make_context("run", ["bundle"]).params
CONTEXT = click.Context(run_command, info_name="run", max_content_width=10_000, terminal_width=10_000)
HELP = run_command.get_help(CONTEXT)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.opts[0])
def test_every_option_stands_in_help_with_its_default(option: click.Option) -> None:
    """One that takes a value says its unit (the metavar) and what holds without it; a flag is off by default."""
    flags, text = option.get_help_record(CONTEXT)
    assert flags in HELP
    assert text in HELP
    if option.is_flag:
        assert PARSED[option.name] is (option.name == "resume")
    elif not option.multiple or option.callback is not None:
        assert "[default: " in text
        assert f"{option.opts[-1]} {option.metavar or '['}" in flags


def test_the_job_gets_every_option_it_has() -> None:
    """No field of a job is out of the command line's reach, and none is misspelt on the way."""
    resolved_by_runs = {
        "bundle",
        "bundle_digest",
        "bundle_tag",
        "api",
        "inputs",
        "input_files",
        "allow_pickle",
        "redrive",
        "reading",
    }
    names = {option.name for option in OPTIONS}
    assert set(inspect.signature(BatchJob).parameters) - resolved_by_runs <= names
    assert {"input", "input_file", "no_pickle"} <= names


def test_defaults_are_those_of_the_job() -> None:
    """Two places that say a default must say the same one."""
    job = inspect.signature(BatchJob).parameters
    for option in OPTIONS:
        if option.name in job and not option.multiple:
            assert PARSED[option.name] == job[option.name].default, option.name
