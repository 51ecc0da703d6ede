"""Tests of the pages that lie in docs/ itself: what they show runs, and every command line has options that exist."""

from __future__ import annotations

import inspect
import pkgutil
import re
import shlex
from pathlib import Path

import click
import pytest

import bentobatch
from bentobatch.cli.main import cli
from tests.docs.pages import ROOT, check_links, run_page

FROM_BENTOML = ROOT / "docs" / "coming-from-bentoml.md"
RUN = [ROOT / "docs" / "compare.md", FROM_BENTOML]
SHOWN = [*RUN, ROOT / "docs" / "environments.md"]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    """In an empty folder, with nothing but what the page itself writes there."""
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_the_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    """Also those that are shown and not run, since they would need a network; and links lead somewhere."""
    check_links(page)
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"^(?:    |\$ )(bentobatch .*)$", text, re.MULTILINE)
    lines += re.findall(r"`(bentobatch [^`]+)`", text)
    assert lines
    for line in lines:
        words = shlex.split(line.replace("…", ""), comments=True)[1:]
        command: click.Command = cli
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        known = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= known, line


def test_the_names_that_replace_bentomls_exist() -> None:
    """Each dotted name of bentobatch on the page, and the options of the decorator that it lists."""
    text = FROM_BENTOML.read_text(encoding="utf-8")
    names = set(re.findall(r"`(bentobatch(?:\.\w+)+)[`(]", text))
    assert len(names) > 15
    for name in names:
        pkgutil.resolve_name(name)
    (listed,) = re.findall(r"^\| `@bentoml\.api\((.*)\)` \| .*? with these and (.*) \|$", text, re.MULTILINE)
    options = set(re.findall(r"\w+(?==)", listed[0])) | set(re.findall(r"`(\w+)`", listed[1]))
    assert options <= inspect.signature(bentobatch.api).parameters.keys()
