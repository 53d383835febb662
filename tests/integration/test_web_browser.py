"""The dashboard in a real browser, on a demo market."""

import json
import re
from datetime import date, timedelta
from statistics import median

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from pyarrow import flight

from tests.fakes.deadline import until
from tests.integration.browsing import PAGES, SIZES, Listener, chromium

FLOORS_MAX = 4
PAINT_MS_MAX = 1_000
REQUESTS_MAX = 6
TRANSFER_BYTES_MAX = 60_000
WIDTHS = (360, 390, 768, 1280, 1920)
FCP = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
# Five hundred rows of one kind say no more than three.
AXE_CONTEXT = {"exclude": [["#ticks tr:nth-child(n + 4)"], ["#newest tr:nth-child(n + 4)"]]}
TRANSFER = """[...performance.getEntriesByType('resource'),
    ...performance.getEntriesByType('navigation')].reduce((sum, e) => sum + e.transferSize, 0)"""
LIVE = re.compile(r"live \d+ Hz")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, demo_server):
    page = browser.new_page(base_url=demo_server.web_url, viewport={"width": 1440, "height": 900})
    yield page
    page.close()


def paint(browser, demo_server, path):
    """(first contentful paint in ms, bytes of everything, what was heard) in a new context."""
    context = browser.new_context(base_url=demo_server.web_url)
    page = context.new_page()
    heard = Listener(page)
    page.goto(path)
    page.wait_for_load_state("load")
    if path == "/":
        expect(page.locator("#stream-word")).to_have_text(LIVE)
    until(lambda: page.evaluate(FCP) > 0)
    found = (page.evaluate(FCP), page.evaluate(TRANSFER), heard)
    context.close()
    return found


def test_the_first_screen_is_painted_fast_small_and_from_one_place(browser, demo_server):
    paint(browser, demo_server, "/")  # the first of a browser's life is no measure
    floors, paints = [], []
    for _ in range(4):
        floors.append(paint(browser, demo_server, "/login")[0])
        ms, size, heard = paint(browser, demo_server, "/")
        paints.append(ms)
        assert size < TRANSFER_BYTES_MAX
        assert len(heard.requests) <= REQUESTS_MAX, heard.requests
        host = demo_server.web_url.split("://")[1]
        sent = [url for url in heard.requests if not url.startswith("data:")]
        assert all(url.split("://")[1].startswith(host) for url in sent)
        assert heard.complaints == []
    # Against an almost empty page in the same minute: a busy machine is slow with both.
    assert median(paints) < FLOORS_MAX * median(floors)
    assert min(paints) < PAINT_MS_MAX  # one busy moment is none of ours, four in a row are


def test_the_data_are_in_the_page_before_any_script(browser, demo_server):
    context = browser.new_context(base_url=demo_server.web_url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    expect(page.locator('[data-t="sym.MNQ.last"]').first).to_have_text(
        re.compile(r"^[\d,]+\.\d\d$")
    )
    expect(page.locator('[data-t="svc.hot.metric"]')).to_have_text(re.compile("iB$"))
    expect(page.locator("#overall")).to_contain_text("on time")
    context.close()


@pytest.mark.parametrize("path", PAGES)
def test_no_page_complains_and_every_page_can_be_used_by_all(page, path):
    heard = Listener(page)
    page.goto(path)
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        found = Axe().run(page, AXE_CONTEXT).response["violations"]
        told = [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in found]
        assert told == [], (path, width)
    assert heard.complaints == []


@pytest.mark.parametrize("path", [*PAGES, "/data?day=2026-11-20"])
def test_no_page_is_wider_than_its_window(page, path):
    page.goto(path)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, (path, width)


def test_prices_move_and_the_stream_says_that_it_lives(page):
    page.goto("/")
    price = page.locator('[data-t="sym.MNQ.last"]').first
    before = price.text_content()
    expect(page.locator("#stream-word")).to_have_text(LIVE)
    expect(price).not_to_have_text(before)


def test_frozen_means_still_until_one_goes_on(page):
    page.goto("/")
    expect(page.locator("#stream-word")).to_have_text(LIVE)
    page.keyboard.press("Space")
    expect(page.locator("#stream-word")).to_have_text("frozen by you")
    still = page.locator("table").first.inner_text()
    page.locator("#zone").click()  # other things still work
    page.locator("#zone").click()
    page.locator("#main").focus()
    assert page.locator("table").first.inner_text() == still
    page.keyboard.press("Space")
    expect(page.locator("#stream-word")).to_have_text(LIVE)
    expect(page.locator("table").first).not_to_have_text(still)


def test_nine_tabs_of_one_browser_all_live(browser, demo_server):
    context = browser.new_context(base_url=demo_server.web_url)
    pages = [context.new_page() for _ in range(9)]
    for page in pages:
        page.goto("/?kiosk=1")
    for page in pages:
        expect(page.locator("#stream-word")).to_have_text(LIVE)
    context.close()


def test_keys_lead_through_the_pages(page):
    page.goto("/")
    expect(page.locator("#stream-word")).to_have_text(LIVE)
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page).to_have_url(re.compile("/data$"))
    expect(page.locator("#stream-word")).to_have_text(LIVE)
    page.keyboard.press("g")
    page.keyboard.press("o")
    expect(page).to_have_url(re.compile("/$"))
    expect(page.locator("#stream-word")).to_have_text(LIVE)
    page.keyboard.press("]")
    expect(page).to_have_url(re.compile(r"symbol=NQ$"))
    expect(page.locator("#stream-word")).to_have_text(LIVE)
    page.keyboard.press("?")
    expect(page.locator("#detail")).to_contain_text("Ctrl K")
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).not_to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("spy")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/market/SPY$"))


def test_single_keys_can_be_switched_off(page):
    page.goto("/")
    expect(page.locator("#stream-word")).to_have_text(LIVE)
    page.keyboard.press("?")
    page.get_by_role("button", name="Single keys are on").click()
    expect(page.locator("#detail")).not_to_be_visible()
    expect(page.locator("#stream-word")).to_have_text(LIVE)
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette")).to_be_visible()  # this one is no single key
    expect(page).to_have_url(re.compile("/$"))


def test_the_chart_moves_under_keys_and_has_drawn_something(page):
    page.goto("/")
    chart = page.locator("#chart")
    chart.focus()
    for key in ("+", "-", "ArrowLeft", "ArrowRight", "End"):
        page.keyboard.press(key)
    page.locator('[data-every="60"]').click()
    page.locator('[data-every="1"]').click()
    painted = page.evaluate(
        """() => { const c = document.getElementById('chart');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }"""
    )
    assert painted > 1_000


def test_days_of_the_map_are_one_stop_and_the_arrows_lead_on(page):
    page.goto("/data")
    stops = page.locator('#year [tabindex="0"]')
    expect(stops).to_have_count(1)
    stops.focus()
    days = []
    for key in ("ArrowUp", "ArrowLeft", "Home", "End", "Control+Home", "ArrowUp", "Control+End"):
        page.keyboard.press(key)
        expect(stops).to_be_focused()
        expect(stops).to_have_count(1)
        label = stops.get_attribute("aria-label")
        assert re.fullmatch(r"[A-Z][a-z]+day \d{4}-\d\d-\d\d: [\w %,]+", label)
        days.append(date.fromisoformat(label.split()[1][:-1]))
    today = days[-1]
    back = [(today - day).days for day in days]
    assert back[:2] == [1, 8]
    assert back[2] % 7 == 1
    assert back[3:] == [1, 370, 370, 0]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"day={today - timedelta(days=1)}$"))


def test_a_tile_opens_what_is_known_of_the_service(page):
    page.goto("/")
    page.locator("#svc-sealer a").click()
    expect(page.locator("#detail-title")).to_have_text("Sealer")
    expect(page.locator("#detail-body")).to_contain_text("Part sealer")


def test_the_market_page_shows_ticks_depth_and_gamma_as_it_was(page):
    page.goto("/market/MNQ")
    expect(page.locator("#ticks [aria-rowindex]").first).to_contain_text("MNQ")
    expect(page.locator("#ladder")).to_be_visible()
    expect(page.locator("#heat-note")).to_contain_text("samples")
    expect(page.locator("#scrub")).to_be_enabled()
    page.locator("#scrub").focus()
    page.keyboard.press("Home")
    expect(page.locator("#scrub-at")).not_to_have_text("now")


def test_of_a_long_tape_only_the_lines_in_sight_exist_and_they_stand_still_to_be_read(page):
    page.goto("/market/MNQ")
    page.locator('[data-held="5000"]').click()
    table, lines = page.locator("#tape table"), page.locator("#ticks [aria-rowindex]")
    until(lambda: int(table.get_attribute("aria-rowcount") or 0) > 1_000)
    assert lines.count() < 60
    page.evaluate("document.getElementById('tape').scrollTop = 2_800")
    newer = page.locator("#ticks-newer")
    expect(newer).to_have_text(re.compile(r"^[\d,]+ newer$"))
    # A line in the middle of what is seen: its number grows as rows come, its place does not.
    seen = """() => {
        const box = document.getElementById('tape').getBoundingClientRect();
        const line = document.elementFromPoint(box.x + 40, box.y + box.height / 2).closest('tr');
        return [line.lastChild.textContent, Number(line.getAttribute('aria-rowindex'))];
    }"""
    (seq, place), came = page.evaluate(seen), newer.text_content()
    expect(newer).not_to_have_text(came)
    (later_seq, later_place) = page.evaluate(seen)
    assert later_seq == seq
    assert later_place > place
    page.locator("#tape").press("End")
    until(lambda: table.get_attribute("aria-rowcount") == lines.last.get_attribute("aria-rowindex"))
    newer.click()
    expect(newer).not_to_be_visible()
    assert int(lines.first.get_attribute("aria-rowindex")) == 2


def test_a_key_is_made_shown_once_and_revoked_by_typing_its_name(page):
    page.goto("/keys")
    page.get_by_label("Name", exact=True).fill("browser-made")
    page.get_by_role("button", name="Make the key").click()
    shown = page.locator("#detail-body pre")
    expect(shown).to_have_text(re.compile(r"^tf_\w{8}_"))
    key = shown.text_content()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("tr", has_text="browser-made")).to_be_visible()
    assert key not in page.content()
    page.locator('[data-revoke="browser-made"]').click()
    dialog = page.locator("#detail")
    dialog.locator("input").fill("browser")
    dialog.get_by_role("button", name="Revoke").click()
    expect(dialog.locator(".error")).to_contain_text("typed once more")
    dialog.locator("input").fill("browser-made")
    dialog.get_by_role("button", name="Revoke").click()
    expect(page.locator("tr", has_text="browser-made")).to_contain_text("revoked")


def test_a_running_call_is_listed_and_cancelled(page, demo_server):
    ask = flight.FlightCallOptions(
        headers=[(b"authorization", b"Bearer " + demo_server.key.encode())]
    )
    client = flight.connect(demo_server.flight_url)
    reader = client.do_get(flight.Ticket("live:VIX"), ask)
    reader.read_chunk()
    page.goto("/queries")
    line = page.locator('[data-r="running"] tr', has_text="live:VIX")
    line.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the call").click()
    expect(page.locator("#detail")).not_to_be_visible()
    expect(line).to_have_count(0)
    reader.read_all()  # it has ended
    client.close()


def test_another_sites_page_reaches_nothing(browser, demo_server):
    context = browser.new_context()
    page = context.new_page()
    page.route("http://127.0.0.1:1/**", lambda route: route.fulfill(body="<p>a page of others</p>"))
    page.goto("http://127.0.0.1:1/")
    web = json.dumps(demo_server.web_url)
    outcome = page.evaluate(
        f"""async () => {{
          const found = [];
          const post = {{ method: 'POST', mode: 'no-cors', body: '{{"name":"stolen"}}' }};
          await fetch({web} + '/ui/keys', post).catch(() => {{}});
          await fetch({web} + '/ui/status').then(() => found.push('read')).catch(() => {{}});
          await new Promise((done) => {{
            const socket = new WebSocket({web}.replace('http', 'ws') + '/ui/stream');
            socket.onopen = () => {{ found.push('socket'); done(); }};
            socket.onerror = done;
          }});
          return found;
        }}"""
    )
    assert outcome == []
    page.goto(f"{demo_server.web_url}/keys")
    assert "stolen" not in page.content()
    context.close()
