"""Tests of the pages of docs/ whose examples need fastai."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import pages_of, run_page


@pytest.mark.parametrize(
    "page", [*pages_of("adapters", "fastai"), *pages_of("frameworks", "fastai")], ids=lambda page: page.stem
)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    """In an empty folder, with nothing but what the page itself writes there."""
    run_page(page, tmp_path)
