"""A real browser for the pages of reports: Chromium, driven over its debugging protocol by Playwright."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.prometheus import tool


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedPage:
    """A page that a browser shows.

    Attributes:
        page: Playwright's page.
        requests: The addresses that the page asked for, the page's own among them.
        complaints: What the browser wrote to its console.
    """

    page: Page
    requests: list[str]
    complaints: list[str]

    @property
    def requests_elsewhere(self) -> list[str]:
        """The addresses outside the file itself."""
        return [address for address in self.requests if not address.startswith(("file:", "data:"))]

    def tabbed(self, times: int) -> list[Any]:
        """Return what has the focus after each press of the tabulator, from the top of the page."""
        self.page.evaluate("document.activeElement.blur()")
        found = []
        for _ in range(times):
            self.page.keyboard.press("Tab")
            found.append(self.focused())
        return found

    def focused(self) -> Any:
        """Return tag, role and accessible name of the element that has the keyboard's focus."""
        return self.page.evaluate(
            """() => {
                const one = document.activeElement;
                const label = document.getElementById(one.getAttribute('aria-labelledby') || '');
                return [one.tagName, one.getAttribute('role'), (label || one).textContent.trim()];
            }"""
        )


@contextmanager
def opened(path: Path, *, width: int = 1280, height: int = 900) -> Iterator[OpenedPage]:
    """Open a file in the browser. Without a browser the test is skipped, or fails where TOOLS=required."""
    program = tool("chromium")
    with sync_playwright() as playwright:
        # Chromium's sandbox does not run as root.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            found = OpenedPage(page=page, requests=[], complaints=[])
            page.on("request", lambda request: found.requests.append(request.url))
            page.on("console", lambda message: found.complaints.append(message.text))
            page.on("pageerror", lambda error: found.complaints.append(str(error)))
            page.goto(path.as_uri())
            yield found
        finally:
            browser.close()
