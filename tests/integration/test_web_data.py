"""The data page in a browser: a gap that is drawn and told, a sealed file that is verified."""

import re

import pyarrow as pa
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from core.clock import SystemClock
from core.schema import TABLES
from storage.intake import IntakeClient
from storage.paths import Paths
from tests.integration.browsing import SIZES, Listener, chromium

HOUR_US = 3_600_000_000


def gap_row(number, state, ago_h, hours):
    now_us = SystemClock().now_ns() // 1_000
    from_us = now_us - int(ago_h * HOUR_US)
    row = dict.fromkeys(TABLES["gaps"].plain_schema.names)
    row |= {"symbol": "MNQ", "ts_event": now_us, "ts_ns": 0, "ts_recv": now_us, "seq": 0}
    row |= {"source": "dxlink", "table_name": "trades", "from_ts": from_us, "state": state}
    row |= {"reason": "MNQZ26: connection lost", "gap_id": number}
    row["to_ts"] = None if hours is None else from_us + int(hours * HOUR_US)
    return row


@pytest.fixture
def server(start_server):
    """A demo with three gaps and sealed files."""
    server = start_server("--demo")
    writer = IntakeClient(Paths(server.data_dir))
    rows = [gap_row(1, "open", 1, None), gap_row(2, "unrepairable", 30, 2)]
    rows.append(gap_row(3, "backfilled", 60, 0.1))
    writer.append_rows("gaps", pa.RecordBatch.from_pylist(rows, TABLES["gaps"].plain_schema))
    writer.seal(["MNQ"])
    writer.close()
    return server


def test_gaps_are_drawn_and_told_and_a_sealed_file_is_verified(server):
    with chromium() as browser:
        page = browser.new_page(base_url=server.web_url)
        heard = Listener(page)
        page.goto("/data")
        marks = page.locator(".lane a")
        expect(marks).to_have_count(3)
        for width, height in SIZES.values():
            page.set_viewport_size({"width": width, "height": height})
            found = Axe().run(page).response["violations"]
            assert [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in found] == []
        # By keyboard: a mark has the focus, says what it is, and leads to its line.
        mark = page.get_by_role("link", name=re.compile("^unrepairable: MNQ trades"))
        mark.focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"#gap-trades\.2$"))
        line = page.locator("tr:target")
        expect(line).to_contain_text("connection lost")
        expect(line).to_contain_text("no feed that keeps history runs here")

        name = page.locator("[data-file]").first
        expect(page.locator("[data-piece='partitions'] tr").first).to_contain_text("at its seal")
        name.click()
        expect(page.locator("#detail-body")).to_contain_text("crc32c")
        page.get_by_role("button", name="Verify now").click()
        expect(page.locator("#detail-body")).to_contain_text("whole file")
        expect(page.locator("#detail-body")).to_contain_text("as it was sealed")
        page.keyboard.press("Escape")
        expect(page.locator("[data-piece='partitions'] tr").first).to_contain_text("whole file")
        assert heard.complaints == []
