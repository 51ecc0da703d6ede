"""Tests of docs/frameworks: each page's modules are written down, and its commands print what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bentobatch import plugins
from tests.docs.pages import ROOT, check_links, pages_of, run_page


@pytest.mark.parametrize("page", pages_of("frameworks"), ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    """In an empty folder, with nothing but what the page itself writes there. Pages of heavy libraries: tests/heavy."""
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "frameworks").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_is_of_an_artifact_and_its_links_lead_somewhere(page: Path) -> None:
    """A page is named like the class; that of the base class is for artifacts of one's own."""
    assert page.stem in {*plugins.TABLES["frameworks"], "BentoServiceArtifact"}
    check_links(page)
