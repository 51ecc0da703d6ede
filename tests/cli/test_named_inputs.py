"""Tests of ``--input-file-NAME`` and ``--input-NAME @PATH``, the flags whose names the api chooses."""

from __future__ import annotations

import click
import pytest

from bentobatch.cli.run import run_command


def parsed(*args):
    """The named files of a command line, and the rest of what it says."""
    context = run_command.make_context("run", ["bundle", *args])
    return context.params["named_files"], context.params


@pytest.mark.parametrize(
    "args",
    [
        ["--input-file-left", "a", "b", "--input-file-right", "c"],
        ["--input-file-left=a", "--input-file-left=b", "--input-file-right=c"],
        ["--input-left", "@a", "@b", "--input-right=@c"],
        ["--named-input", "left=a", "--named-input=left=b", "--named-input", "right=c"],
    ],
)
def test_each_name_takes_its_files_in_order(args):
    """All spellings are the same."""
    assert parsed(*args)[0] == (("left", "a"), ("left", "b"), ("right", "c"))


def test_other_options_end_the_list_of_files():
    """As with --input-file; names keep - and _, and a path may hold an equals sign."""
    named, others = parsed("--input-file-my-image_1", "a=b", "--limit", "3", "--input-file-x=c=d")
    assert named == (("my-image_1", "a=b"), ("x", "c=d"))
    assert others["limit"] == 3


def test_plain_input_files_are_what_they_were():
    """``--input-file`` and ``--input`` have no name."""
    named, others = parsed("--input-file", "a", "b")
    assert (named, others["input_file"]) == ((), ("a", "b"))
    named, others = parsed("--input", "@a")
    assert (named, others["input"]) == ((), ("@a",))


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--input-file-left"], "needs a value"),
        (["--input-file-left", "--limit", "3"], "needs a value"),
        (["--input-left", "a"], "No such option"),
        (["--input-left"], "No such option"),
        (["--input-file-", "a"], "No such option"),
        (["--input-file-1", "a"], "No such option"),
    ],
)
def test_what_names_no_file_is_refused(args, told):
    """A spelling error of another option must not become an input."""
    with pytest.raises(click.UsageError) as caught:
        parsed(*args)
    assert told in caught.value.format_message()
