"""A Sierra Chart file taken in, beside a running server and without one."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import flight

from tests.conftest import RunningServer, running_server, tickflight
from tests.fakes.scid_writer import bundle, quote, record, scid

START_US = 1_703_545_200_000_000  # 2023-12-25 23:00 UTC
TRADES = 600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    records = [
        record(START_US + n * 5_000_000, 480_000 + n % 40 * 25, n % 9 + 1, side=n % 2 * 2 - 1)
        for n in range(TRADES - 3)
    ]
    records[5:5] = [quote(START_US + 21_000_000, 480_000, 480_025)]
    records += bundle(START_US + TRADES * 5_000_000, 480_100, (1, 2, 3), side=1)
    path = tmp_path / "ESH24_FUT_CME.scid"
    path.write_bytes(scid(*records, tail=b"\0" * 17))
    return path


def ask(server: RunningServer, key: str, ticket: str) -> pa.Table:
    bearer = [(b"authorization", f"Bearer {key}".encode())]
    client = flight.connect(server.flight_url)
    try:
        options = flight.FlightCallOptions(headers=bearer)
        return client.do_get(flight.Ticket(ticket.encode()), options).read_all()
    finally:
        client.close()


def check_served(server: RunningServer, key: str) -> None:
    rows = ask(server, key, "ticks:ES?start=2023-12-25T23:00:00Z&end=2023-12-26T01:00:00Z")
    assert rows.num_rows == TRADES
    assert rows.column("price")[0].as_py() == 4800.0
    assert set(rows.column("contract").to_pylist()) == {"ESH24"}
    counted = ask(server, key, "SELECT count(*) AS n, sum(size) AS size FROM trades")
    assert counted.to_pylist()[0]["n"] == TRADES
    assert counted.to_pylist()[0]["size"] == sum(rows.column("size").to_pylist())
    bars = ask(server, key, "SELECT sum(count) AS n FROM bars_1m WHERE symbol = 'ES'")
    assert bars.column("n")[0].as_py() == TRADES


def test_a_file_imported_without_a_server_is_served_later(tmp_path: Path, file: Path) -> None:
    before = file.read_bytes()
    assert f"{TRADES} added" in tickflight(tmp_path, "import", str(file))
    assert f"0 added, {TRADES} already stored" in tickflight(tmp_path, "import", str(file))
    assert file.read_bytes() == before
    sealed = list((tmp_path / "data" / "lake" / "trades").glob("symbol=ES/date=*/*.parquet"))
    assert sum(pq.read_metadata(path).num_rows for path in sealed) == TRADES
    key = tickflight(tmp_path, "key", "create", "reader").split()[-1]
    for _ in range(2):  # and again after a restart
        with running_server(tmp_path) as server:
            check_served(server, key)
    assert "100.0000 %" in tickflight(tmp_path, "verify", "--all")


def test_a_file_can_be_imported_beside_a_running_server(
    tmp_path: Path, file: Path, start_server: Callable[..., RunningServer]
) -> None:
    key = tickflight(tmp_path, "key", "create", "reader").split()[-1]
    server = start_server()
    assert f"{TRADES} added" in tickflight(tmp_path, "import", str(file))
    check_served(server, key)
    assert f"0 added, {TRADES} already stored" in tickflight(tmp_path, "import", str(file))
    check_served(server, key)
    assert "ES" in tickflight(tmp_path, "query", "SELECT DISTINCT symbol FROM trades")
