"""A real Chromium for tests of the dashboard, and what they ask of it."""

import os
import shutil
from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright

SIZES = {"desk": (1440, 900), "phone": (390, 844)}
PAGES = ("/", "/market/MNQ", "/data", "/queries", "/keys", "/events", "/login")
WAIT_MS_MAX = 20_000  # for what comes at once on a quiet machine


@contextmanager
def chromium():
    """The system's Chromium; a test that needs it fails where there is none."""
    path = shutil.which("chromium")
    assert path, "install Debian's package chromium"
    expect.set_options(timeout=WAIT_MS_MAX)
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=args)
        try:
            yield browser
        finally:
            browser.close()


class Listener:
    """What a page asked for, said and complained about."""

    def __init__(self, page):
        self.requests = []
        self.complaints = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)
