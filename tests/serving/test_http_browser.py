"""This module uses the server's page with a real browser, headless Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bentobatch.serving import create_app
from tests.repository.server.serving import served
from tests.repository.server.test_browser import DESKTOP, PHONE, browser, fits, shot

__all__ = ["browser"]


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_the_forms_of_the_page_send_what_is_in_them(
    browser: Any, served_bundle: str, tmp_path: Path, size: tuple[int, int]
) -> None:
    """The declared example, as it stands and changed; a file; an error. The page's own policy allows it."""
    from playwright.sync_api import expect  # here, since a laptop without playwright skips this

    (tmp_path / "note.txt").write_text("hello")
    with served(create_app(served_bundle)) as url:
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(url)
        form = page.locator('form[data-route="/predict"]')
        answer = form.locator(".answer")
        form.get_by_role("button", name="Send").click()
        expect(answer).to_contain_text("200 OK\n[6.0]")
        form.locator("textarea").fill("a,b,c\n1,1,1\n")
        form.locator("select").select_option("text/csv")
        form.get_by_role("button", name="Send").click()
        expect(answer).to_contain_text("[3.0]")
        assert complaints == []
        form.locator("textarea").fill("a,b\n1,1\n")
        form.get_by_role("button", name="Send").click()
        expect(answer).to_contain_text("400 ")
        files = page.locator('form[data-route="/size"]')
        files.locator('input[type="file"]').set_input_files(tmp_path / "note.txt")
        files.get_by_role("button", name="Send").click()
        expect(files.locator(".answer")).to_contain_text('"bytes":5')
        assert fits(page)
        shot(page, f"serving-{size[0]}")
        page.close()
