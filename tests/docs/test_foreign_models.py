"""Tests of docs/foreign-models.md: its commands print what it says."""

from __future__ import annotations

from pathlib import Path

from tests.docs.pages import ROOT, check_links, run_page

PAGE = ROOT / "docs" / "foreign-models.md"


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    """In an empty folder, with nothing but what the page itself writes there."""
    run_page(PAGE, tmp_path)


def test_its_links_lead_somewhere() -> None:
    """To the pages of the artifacts."""
    check_links(PAGE)
