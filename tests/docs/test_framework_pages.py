"""Tests of docs/frameworks: each page's modules are written down, and its commands print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bentobatch import plugins
from tests.docs.pages import ROOT, check_links, pages_of, run_page


@pytest.mark.parametrize("page", pages_of("frameworks"), ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    """In an empty folder, with nothing but what the page itself writes there. Pages of heavy libraries: tests/heavy."""
    run_page(page, tmp_path)


def test_every_artifact_has_a_page() -> None:
    """In docs/frameworks, under the name of its class."""
    assert {page.stem for page in (ROOT / "docs" / "frameworks").glob("*.md")} >= set(plugins.TABLES["frameworks"])


@pytest.mark.parametrize("folder", ["adapters", "frameworks"])
def test_every_page_is_run_somewhere_or_says_that_it_was_not(folder: str) -> None:
    """In the ordinary tests, or in a folder of tests/heavy that make test-frameworks knows."""
    groups = set(re.findall(r"^frameworks-([a-z]+) = ", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE))
    run = set(pages_of(folder))
    for group in groups:
        pages = pages_of(folder, group)
        assert not pages or (ROOT / "tests" / "heavy" / group / "test_pages.py").is_file(), group
        run |= set(pages)
    left = set((ROOT / "docs" / folder).glob("*.md")) - run
    assert [page.stem for page in left if "was not run" not in page.read_text("utf-8")] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "frameworks").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_is_of_an_artifact_and_its_links_lead_somewhere(page: Path) -> None:
    """A page is named like the class; that of the base class is for artifacts of one's own."""
    assert page.stem in {*plugins.TABLES["frameworks"], "BentoServiceArtifact"}
    check_links(page)
