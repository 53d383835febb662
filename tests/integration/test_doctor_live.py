"""The first live session, held against the fake service."""

import json
import threading

import pytest

from core.clock import SystemClock
from core.errors import SettingsError
from core.settings import load_settings
from ingest.doctor_live import Waits, judge, live_command
from tests.fakes.deadline import until
from tests.fakes.dxlink_rest import RestServer, future
from tests.fakes.dxlink_server import DxlinkServer
from tests.fakes.dxlink_tape import TruthTape

CLOCK = SystemClock()
MNQ = "/MNQZ26:XCME"
BRIEF = Waits(listen_s=1.0, answer_s=1.0)


@pytest.fixture
def server():
    tape = TruthTape(start_ms=CLOCK.now_ns() // 1_000_000 - 600_000)
    with DxlinkServer(tape) as server:
        server.trade(100)
        yield server


def session(server, tmp_path, secret="secret"):
    """Run the command while prints go on; give exit code, words and report."""
    said = []
    with RestServer(server.url) as rest:
        rest.futures = [future("/MNQZ6", MNQ, "MNQ", is_front=True, expires="2099-12-18")]
        given = {
            "TASTYTRADE_CLIENT_SECRET": secret,
            "TASTYTRADE_REFRESH_TOKEN": "refresh",
            "TASTYTRADE_API_URL": rest.url,
            "TASTYTRADE_SYMBOLS": "MNQ,SPY",
            "DATA_DIR": str(tmp_path / "data"),  # a first session has none yet
        }
        settings = load_settings(given, environ={}, env_file=tmp_path / "none")
        codes = []
        running = threading.Thread(
            target=lambda: codes.append(live_command(settings, CLOCK, said.append, BRIEF))
        )
        running.start()
        if secret == "secret":
            until(lambda: server.live)
            while running.is_alive():
                server.trade(20)
                running.join(0.1)
        running.join()
    (path,) = (tmp_path / "data" / "reports").glob("live-*.json")
    return codes[0], said, json.loads(path.read_bytes())


def test_the_session_tells_what_each_symbol_is_given(server, tmp_path):
    code, said, report = session(server, tmp_path)
    assert code == 0, said
    assert report["symbols"] == {MNQ: "MNQZ26", "SPY": "SPY"}
    assert report["live_rows"]["STREAM TimeAndSale"][MNQ] > 0
    assert report["live_rows"]["HISTORY Candle"]["SPY{=m}"] > 0
    for name in ("1 hour", "24 hours"):
        of = report["history"][name]["SPY"]
        assert of["rows"] >= 20
        assert of["flags"] & 8
    assert report["second_connection"] == "lives beside the first"
    assert report["auth_again"] == ["AUTHORIZED"]
    assert report["largest_frame_bytes"] > 0
    assert {"TimeAndSale"} <= {e for c in report["layouts"] for e in c["eventFields"] or ()}
    assert report["aggregation_s"]["for 0.1"]
    assert not report["garbled"]
    checks = {name for of in report["checks"].values() for name in of}
    assert not any("mismatch" in name for name in checks)
    words = json.dumps(report)
    assert "secret" not in words
    assert "QT-" not in words


def test_a_symbol_without_prints_is_called_wrong(server, tmp_path):
    server.faults.silent_types = frozenset({"TimeAndSale"})
    code, said, _ = session(server, tmp_path)
    assert code == 1
    assert any(line.startswith("wrong  SPY") for line in said)


def test_wrong_credentials_are_said_and_written_down(server, tmp_path):
    code, said, report = session(server, tmp_path, secret="wrong")
    assert code == 1
    assert "refused the credentials" in report["failed"]
    assert any("refused the credentials" in line for line in said)


def test_without_a_login_there_is_nothing_to_try(tmp_path):
    settings = load_settings({"DATA_DIR": str(tmp_path)}, environ={}, env_file=tmp_path / "none")
    with pytest.raises(SettingsError, match="no tastytrade login"):
        live_command(settings, CLOCK, print, BRIEF)


def test_what_gives_nothing_is_not_called_fine_and_an_index_needs_no_prints():
    report = {
        "symbols": {"SPY": "SPY", "VIX": "VIX", "QQQ": "QQQ"},
        "indices": ["VIX"],
        "live_rows": {"TICKER Trade": {"SPY": 3, "VIX": 3}},
        "unclear_fronts": {"MNQ": 2},
    }
    found = {finding.about: finding for finding in judge(report)}
    states = {about: finding.state for about, finding in found.items()}
    assert states == {"SPY": "wrong", "VIX": "fine", "QQQ": "off", "MNQ": "wrong"}
    assert "nothing came" in found["QQQ"].told
