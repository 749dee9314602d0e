"""Headless Chromium for tests of pages: Debian's, or whichever is installed; never a download."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium_path() -> str:
    """Where Chromium is; without one the test is skipped, and fails where CI is set."""
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        missing = "needs Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser that reaches this machine alone: no other host has an address for it."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",  # which a container's root has not
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def quiet_page(browser: Any, width: int = 1280, height: int = 800) -> Iterator[Any]:
    """A page that must stay without errors, and ask no other host for anything."""
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: complaints.extend(_elsewhere(request.url)))
    try:
        yield page
    finally:
        context.close()
    assert not complaints, complaints


def _elsewhere(url: str) -> list[str]:
    local = ("http://127.0.0.1:", "ws://127.0.0.1:", "file:", "data:", "blob:", "about:")
    return [] if url.startswith(local) else [f"request to {url}"]
