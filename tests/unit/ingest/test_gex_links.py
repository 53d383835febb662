import pytest

from ingest.gex_links import LinkRules, Series, check_url, parse_file_name, read_request
from ingest.gex_values import Faulty
from tests.fakes import gexbot_made as made

RULES = LinkRules(frozenset({"hist.gex.bot", "nfagexbotresearch.blob.core.windows.net"}))
NOW_NS = (made.CLOSE_S + 7_200) * 10**9
FILE = "2026-11-20_NQ_NDX_classic_gex_zero.json.gz"
GOOD = f"https://hist.gex.bot/gb-nqndx/{FILE}"


def faults(body):
    with pytest.raises(Faulty) as caught:
        read_request(body, RULES, NOW_NS)
    return {fault.path: fault.msg for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("name", "series"),
    [
        (FILE, ("NQ_NDX", "classic", "gex_zero")),
        ("2026-11-20_NQ_NDX_classic_gex_zero.json", ("NQ_NDX", "classic", "gex_zero")),
        ("2026-11-20_SPX_classic_gex_full.json.gz", ("SPX", "classic", "gex_full")),
        ("2026-11-20_SPX_classic_one.json", ("SPX", "classic", "gex_one")),
        ("2026-11-20_SPX_state_gamma_zero.json.gz", ("SPX", "state", "gamma_zero")),
        ("2026-11-20_SPX_orderflow_orderflow.json.gz", ("SPX", "orderflow", "orderflow")),
        ("2026-11-20_SPX_orderflow.json", ("SPX", "orderflow", "orderflow")),
        ("2026-11-20_SPX_classic.json", ("SPX", "classic", "")),
    ],
)
def test_a_file_name_says_its_series(name, series):
    assert parse_file_name(name) == Series(*series, "2026-11-20")


@pytest.mark.parametrize(
    "name",
    ["", "x.json", f"../{FILE}", f"a/{FILE}", f"{FILE}.zip", FILE.lower(), "2026-11-20__.json"],
)
def test_any_other_name_says_nothing(name):
    assert parse_file_name(name) is None


def test_the_name_wins_over_the_body_and_the_difference_is_noted():
    asked = read_request({"url": GOOD, "ticker": "NDX", "endpoint": "gex_full"}, RULES, NOW_NS)
    assert asked.series == Series("NQ_NDX", "classic", "gex_zero", "2026-11-20")
    assert len(asked.notes) == 2
    assert "NDX" in asked.notes[0]


def test_the_body_says_what_the_name_does_not():
    body = {"url": "https://hist.gex.bot/a/2026-11-20_SPX_classic.json", "endpoint": "gex_full"}
    assert read_request(body, RULES, NOW_NS).series.category == "gex_full"
    body = {"url": "https://hist.gex.bot/file", "symbol": "spx", "kind": "zero"}
    asked = read_request(body | {"date": "2026-11-19"}, RULES, NOW_NS)
    assert asked.series == Series("SPX", "classic", "gex_zero", "2026-11-19")


def test_a_category_nobody_said_is_not_taken_for_gex_zero():
    assert "category" in faults("https://hist.gex.bot/a/2026-11-20_SPX_classic.json")


@pytest.mark.parametrize(
    "url",
    [
        f"http://hist.gex.bot/{FILE}",
        f"ftp://hist.gex.bot/{FILE}",
        f"//hist.gex.bot/{FILE}",
        f"https://hist.gex.bot@evil.example/{FILE}",
        f"https://hist.gex.bot:x@evil.example/{FILE}",
        f"https://hist.gex.bot\\@evil.example/{FILE}",
        f"https://hist.gex.bot%2f@evil.example/{FILE}",
        f"https://evil.example\\.hist.gex.bot/{FILE}",
        f"https://evil.example/?hist.gex.bot/{FILE}",
        f"https://evil.example#hist.gex.bot/{FILE}",
        f"https://hist.gex.bot.evil.example/{FILE}",
        f"https://evilhist.gex.bot/{FILE}",
        f"https://hist.gex.bot./{FILE}",
        f"https://hist.gex.bot:8443/{FILE}",
        f"https://user@hist.gex.bot/{FILE}",
        f"https://hist.gex.bot\t.evil.example/{FILE}",
        f"https://hist.gex.bot\n@evil.example/{FILE}",
        f" https://hist.gex.bot/{FILE}",
        f"https://hi\u017ft.gex.bot/{FILE}",
        f"https://other.blob.core.windows.net/{FILE}",
        f"https://127.0.0.1/{FILE}",
        f"https://[::1]/{FILE}",
        f"https://0x7f.1/{FILE}",
        f"https://hist.gex.bot/{FILE}?" + "x" * 4_096,
        "https://",
        "",
        None,
        7,
    ],
)
def test_a_link_to_anywhere_else_is_refused_however_it_is_spelled(url):
    with pytest.raises(Faulty):
        check_url("url", url, RULES)
    assert "url" in faults({"url": url})


LOUD = f"HTTPS://HIST.GEX.BOT/{FILE}"


@pytest.mark.parametrize("url", [GOOD, LOUD, f"{GOOD}?sig=a%3D"])
def test_a_link_to_a_listed_host_is_followed_as_it_was_parsed(url):
    assert check_url("url", url, RULES).host == "hist.gex.bot"


def test_an_expired_link_is_named_at_once():
    told = faults(f"{GOOD}?se=2026-11-20T02%3A00%3A00Z&sig=S")
    assert "expired" in told["url"]
    assert "sig" not in told["url"]
    read_request(f"{GOOD}?se=2026-11-22T02%3A00%3A00Z&sig=S", RULES, NOW_NS)


@pytest.mark.parametrize("day", ["2026-11-31", "2036-01-01", "someday", ""])
def test_a_day_that_cannot_be_is_refused(day):
    body = {"url": "https://hist.gex.bot/file", "ticker": "SPX", "category": "gex_zero"}
    assert "date" in faults(body | {"date": day})


def test_the_credential_of_a_link_does_not_show():
    asked = read_request(f"{GOOD}?sig=SECRET", RULES, NOW_NS)
    assert "SECRET" in asked.url
    assert "SECRET" not in repr(asked)
