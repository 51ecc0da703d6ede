"""This module walks through the web pages with a real browser, headless Chromium, and takes screenshots.

They go to the folder that BENTOBATCH_TEST_SCREENSHOTS names, for somebody to look at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bentobatch.repository.local import LocalRepository
from bentobatch.repository.server.app import create_app
from bentobatch.repository.server.auth import Tokens
from bentobatch.repository.server.state import Options
from tests.repository.making import make_bundle
from tests.repository.server.serving import READ, WRITE, served, token_file

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip
PHONE, DESKTOP = (390, 844), (1280, 900)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; without it, or playwright, skipped on a laptop, and an error in CI."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("no playwright here")
    if chromium is None:
        assert os.environ.get("CI") != "true", "CI needs chromium"
        pytest.skip("no chromium here")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def site(stored: LocalRepository, tmp_path: Path) -> Iterator[str]:
    """A server with tokens and four bundles."""
    for number in range(3):
        tag = f"Iris:2026112{number}083000_77C0DE"
        labels = {"framework": "sklearn", "stage": "test" if number else "production"}
        stored.push(make_bundle(tmp_path / tag, tag, second=number), labels=labels)
    stored.push(make_bundle(tmp_path / "o", "Churn:7"), labels={"framework": "xgboost"})
    with served(create_app(stored, Options(tokens=Tokens(file=token_file(tmp_path))))) as url:
        yield url


def shot(page: Any, name: str) -> None:
    folder = os.environ.get("BENTOBATCH_TEST_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def fits(page: Any) -> bool:
    """Whether nothing is wider than the screen."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
@pytest.mark.parametrize("script", [True, False])
def test_a_walk_from_the_list_to_a_version_and_its_deletion(
    script: bool, size: tuple[int, int], scheme: str, browser: Any, site: str, stored: LocalRepository
) -> None:
    """Sign in, filter, bundle, version, copy, delete; on a phone, in the dark, without JavaScript."""
    name = f"{'phone' if size == PHONE else 'desktop'}-{scheme}{'' if script else '-plain'}"
    viewport = {"width": size[0], "height": size[1]}
    context = browser.new_context(color_scheme=scheme, viewport=viewport, java_script_enabled=script)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Security Policy" in message.text else None)
    page.goto(f"{site}/sign-in")
    shot(page, f"{name}-1-sign-in")
    page.get_by_label("Token").fill(WRITE)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Bundles").wait_for()
    assert page.locator(".card").count() == 2
    shot(page, f"{name}-2-list")
    page.get_by_role("textbox", name="Labels").fill("framework=sklearn")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**labels=framework%3Dsklearn*")
    assert page.locator(".card h2").all_inner_texts() == ["Iris"]
    page.get_by_role("link", name="Iris", exact=True).click()
    page.wait_for_url("**/bundles/Iris")
    assert page.locator(".versions tbody tr").count() == 3
    shot(page, f"{name}-3-bundle")
    page.get_by_role("link", name="20261122083000_77C0DE").click()
    page.get_by_role("heading", name="Iris:20261122083000_77C0DE").wait_for()
    shot(page, f"{name}-4-version")
    if script:
        assert fits(page)
        page.locator(".copy").nth(2).click()
        page.get_by_text("Copied").wait_for()
    lines = page.locator("[data-copy]").count()
    assert lines == 6  # how to use this repository, run, serve, retrieve, containerize; the digest
    assert page.locator(".copy").count() == (lines if script else 0)
    page.get_by_role("link", name="Delete…").click()
    shot(page, f"{name}-5-delete")
    page.get_by_role("button", name="Delete it").click()
    page.wait_for_url("**/bundles/Iris")
    assert page.locator(".versions tbody tr").count() == 2
    assert [entry.version[:8] for entry in stored.list("Iris")] == ["20261121", "20261120"]
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto(f"{site}/bundles/Iris")
    assert page.get_by_label("Token").is_visible()
    assert faults == []
    context.close()


def test_a_reader_sees_no_way_to_delete(browser: Any, site: str) -> None:
    """And no page is wider than a phone."""
    context = browser.new_context(viewport={"width": 320, "height": 600})
    page = context.new_page()
    page.goto(site)
    page.get_by_label("Token").fill(READ)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Bundles").wait_for()
    for path in ("/", "/bundles/Iris", "/bundles/Iris/latest", "/nothing", "/bundles/Iris/20261120083000_77C0DE"):
        page.goto(f"{site}{path}")
        assert fits(page), path
        assert page.get_by_text("Delete").count() == 0
    context.close()


def test_another_site_cannot_delete_with_a_readers_browser(browser: Any, site: str, stored: LocalRepository) -> None:
    """CSRF, as a browser does it: the form of another site is sent without the cookie, and refused."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(site)
    page.get_by_label("Token").fill(WRITE)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Bundles").wait_for()
    target = f"{site}/bundles/Churn/7/delete"
    evil = f"<form method=post action='{target}'><input name=form_key value=x><button>Win a prize</button></form>"

    def serve_evil(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/html")])
        return [evil.encode()]

    with served(serve_evil) as other:
        page.goto(other)
        page.get_by_role("button").click()
        page.get_by_role("heading", name="Not allowed").wait_for()
    assert str(stored.get("Churn:7").tag) == "Churn:7"
    context.close()
