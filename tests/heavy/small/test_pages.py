"""Tests of the pages of docs/ whose examples need MLflow, spaCy, fastText or H2O."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import pages_of, run_page


@pytest.mark.parametrize("page", pages_of("frameworks", "small"), ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    """In an empty folder, with nothing but what the page itself writes there."""
    run_page(page, tmp_path)
