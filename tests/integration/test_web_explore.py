"""The explorer of the extra `explore`, in a browser: it shows our rows and asks nobody else."""

import re

from playwright.sync_api import expect

from tests.fakes.deadline import until
from tests.integration.browsing import Listener, chromium

LOADED = re.compile(r"^[\d,]+ rows of MNQ$")
WORDS = """() => {
    const found = [];
    const look = (root) => {
        for (const one of root.querySelectorAll('*')) {
            if (one.shadowRoot) look(one.shadowRoot);
            if (one.localName === 'td' || one.localName === 'th') found.push(one.textContent);
        }
    };
    look(document);
    return found.join(' ');
}"""


def test_the_explorer_shows_rows_of_the_tape_and_fetches_nothing_from_elsewhere(demo_server):
    with chromium() as browser:
        page = browser.new_page(base_url=demo_server.web_url)
        heard = Listener(page)
        page.goto("/explore")
        note = page.locator("#explore-note")
        expect(note).to_have_text(LOADED, timeout=60_000)  # megabytes to compile
        until(lambda: "MNQZ26" in page.evaluate(WORDS))
        page.locator("#ask [name=symbol]").select_option("SPY")
        page.get_by_role("button", name="Load", exact=True).click()
        expect(note).to_have_text(re.compile("rows of SPY$"))
        until(lambda: "SPY" in page.evaluate(WORDS) and "MNQZ26" not in page.evaluate(WORDS))
        host = demo_server.web_url.split("://")[1]
        sent = [url for url in heard.requests if not url.startswith(("data:", "blob:"))]
        assert all(url.split("://")[1].startswith(host) for url in sent), sent
        assert heard.complaints == []
