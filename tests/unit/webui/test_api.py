import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.settings import load_settings
from webui.edge import HEADERS


@pytest.fixture
def traded(site):
    site.trade("MNQ", 24_916.25, age_s=65, size=2)
    site.trade("MNQ", 24_917.0, age_s=1)
    site.look()
    return site


def test_bars_come_as_columns(traded):
    bars = traded.ask("/ui/bars?symbol=MNQ&every=60").json()
    assert bars["o"] == [24_916.25, 24_917.0]
    assert bars["v"] == [2, 1]
    assert bars["t"] == sorted(bars["t"])


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("symbol=NOPE", 404),
        ("symbol=", 404),
        ("symbol=MNQ&every=7", 400),
        ("symbol=MNQ&every=x", 400),
        ("symbol=MNQ&n=0", 400),
        ("symbol=MNQ&n=999999999", 400),
        ("symbol=MNQ&n=-1", 400),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(traded, query, status):
    answer = traded.ask(f"/ui/bars?{query}")
    assert answer.status_code == status
    assert answer.json()["message"]


def test_a_sample_is_the_newest_trades_newest_first(traded):
    found = traded.ask("/ui/sample?symbol=MNQ&n=10").json()
    prices = [row[found["columns"].index("price")] for row in found["rows"]]
    assert prices == [24_917.0, 24_916.25]


def test_samples_tell_the_python_that_fetches_more(traded):
    found = traded.ask("/api/samples?symbol=MNQ&n=1").json()
    assert found["samples"]["MNQ"][0]["price"] == 24_917.0
    assert 'flight.Ticket("tail:MNQ?n=1")' in found["python"]
    compile(found["python"], "snippet", "exec")


def test_a_key_sees_the_samples_of_its_symbols_alone(traded):
    traded.trade("SPY", 678.0)
    traded.look()
    bearer = {"authorization": f"Bearer {traded.key('bot', 'read', symbols=('SPY',))}"}
    assert list(traded.ask("/api/samples", headers=bearer).json()["samples"]) == ["SPY"]
    assert traded.ask("/api/samples?symbol=MNQ", headers=bearer).status_code == 404


def test_a_sample_can_be_taken_as_a_parquet_file(traded):
    answer = traded.ask("/ui/sample.parquet?symbol=MNQ")
    table = pq.read_table(pa.BufferReader(answer.content))
    assert table.column("price").to_pylist() == [24_917.0, 24_916.25]
    assert "MNQ-ticks.parquet" in answer.headers["content-disposition"]


def test_a_service_tells_its_parts_and_events(traded):
    traded.boards["ingest"].state("sealer", "degraded", "disk full", limit_s=5)
    traded.publish()
    traded.look()
    found = traded.ask("/ui/service?key=sealer").json()
    assert ["Part sealer", "degraded: disk full"] in found["facts"]
    assert ["May be silent for", "5 s"] in found["facts"]
    assert found["events"][0]["cells"][1] == "Sealer degraded: disk full"
    assert traded.ask("/ui/service?key=nothing").status_code == 400


def test_the_whole_picture_can_be_asked_for_at_once(traded):
    frame = traded.ask("/ui/status").json()
    assert set(frame["d"]) == {"status", "symbols", "queries", "events", "coverage"}
    assert frame["d"]["symbols"]["t"]["sym.MNQ.last"] == "24,917.00"


def test_gamma_and_depth_that_are_not_there_are_no_error(traded):
    assert traded.ask("/ui/heat?symbol=MNQ").json()["columns"] == []
    assert traded.ask("/ui/gex?symbol=MNQ").json() == {"gex": None}
    assert traded.ask("/ui/gex/moments?symbol=MNQ").json() == {"moments": []}


@pytest.mark.parametrize(
    "path",
    [
        "/data?day=2026-11-20",
        "/data?table=gex&symbol=MNQ",
        "/data?day=never",
        "/queries?key=bot",
        "/events?part=sealer",
    ],
)
def test_pages_bear_whatever_is_asked_of_them(traded, path):
    assert traded.ask(path).status_code == 200


def test_the_explorer_has_a_policy_of_its_own_and_no_other_page_has_it(traded):
    page = traded.ask("/explore")
    assert page.status_code == 200
    assert "wasm-unsafe-eval" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    for path in ("/", "/data", "/explore/rows?symbol=MNQ"):
        policy = traded.ask(path).headers["content-security-policy"]
        assert policy == HEADERS["content-security-policy"]


def test_the_explorer_gets_rows_as_arrow(traded):
    raw = traded.ask("/explore/rows?symbol=MNQ&n=5").content
    table = pa.ipc.open_stream(raw).read_all()
    assert table.column("price").to_pylist() == [24_917.0, 24_916.25]
    assert table.schema.field("contract").type == pa.utf8()
    assert traded.ask("/explore/files/secrets").status_code == 404


def test_where_the_explorer_is_not_installed_the_page_says_how_to_install_it(traded, monkeypatch):
    monkeypatch.setitem(sys.modules, "perspective", None)  # as where there is no such package
    page = traded.ask("/explore")
    assert page.status_code == 200
    assert "The explorer is not installed" in page.text
    assert "pip install &#34;.[explore]&#34;" in page.text
    assert "perspective-viewer" not in page.text
    answer = traded.ask("/explore/files/perspective.js")
    assert answer.status_code == 503
    assert 'pip install ".[explore]"' in answer.json()["message"]


@pytest.mark.parametrize(
    ("host", "asked", "address"),
    [
        ("127.0.0.1", "127.0.0.1", "grpc://127.0.0.1:8815"),
        ("0.0.0.0", "127.0.0.1", "grpc+tls://127.0.0.1:8815"),
        ("::", "::1", "grpc+tls://[::1]:8815"),
        ("10.0.0.5", "127.0.0.1", "grpc+tls://10.0.0.5:8815"),
    ],
)
def test_the_python_to_copy_names_a_host_that_a_client_can_reach(site, host, asked, address):
    environ = {"HOST": host, "DATA_DIR": str(site.paths.root)}
    if "tls" in address:
        environ |= {"TLS_CERT": "c.pem", "TLS_KEY": "k.pem", "WEBHOOK_TOKEN": "t" * 32}
    site.house.hub.gatherer.settings = load_settings(
        {}, environ=environ, env_file=site.paths.root / "no.env"
    )
    site.trade("MNQ", 24_917.0)
    site.look()
    name = f"[{asked}]:8877" if ":" in asked else f"{asked}:8877"
    for path in ("/", "/market/MNQ", "/api/samples"):
        assert address in site.ask(path, host=name).text
