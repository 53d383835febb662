"""Rows handed to the writer by another process."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pyarrow as pa
import pytest

from core.batch import Rejected, TickBatch
from core.errors import DiskFull, StoreError, Unavailable
from storage.arrow_stream import arrow_batch
from storage.intake import (
    IntakeClient,
    IntakeServer,
    rejected_from,
    request_bytes,
    short_address,
)
from storage.intake_loop import open_intake
from storage.paths import Paths
from tests.fakes.ticks import trades


class Writer:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], bytes]] = []

    def __call__(self, header: dict[str, Any], body: bytes) -> dict[str, Any]:
        self.asked.append((header, body))
        if header["op"] == "full":
            raise DiskFull("no room", hint="make room")
        if header["op"] == "broken":
            raise ZeroDivisionError
        return {"done": len(self.asked), "rows": 5}


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def paths(tmp_path: Path, writer: Writer) -> Iterator[Paths]:
    deep = tmp_path / ("a-long-folder-name-" * 8)  # longer than a socket's address may be
    deep.mkdir()
    paths = Paths(deep)
    server = IntakeServer(paths, writer)
    server.start()
    yield paths
    server.stop()


def test_a_batch_arrives_as_it_was(paths: Paths, writer: Writer) -> None:
    client = IntakeClient(paths)
    batch = trades("MNQ", 5, conditions=np.array(list("abcde"), object))
    assert client.append(batch) == 5
    header, body = writer.asked[0]
    assert header == {"op": "append"}
    arrived = TickBatch.from_arrow(arrow_batch(body))
    assert (arrived.table, arrived.symbol, arrived.contract) == ("trades", "MNQ", "MNQZ5")
    for name, column in batch.columns.items():
        np.testing.assert_array_equal(arrived.columns[name], column)
    client.close()


def test_rejects_and_rows_arrive_as_they_were(paths: Paths, writer: Writer) -> None:
    client = IntakeClient(paths)
    rejected = [Rejected("trades", "MNQ", "test", "bad", b"\x00\xff", 5, None)]
    client.reject(rejected)
    client.append_rows("gaps", pa.RecordBatch.from_pydict({"symbol": ["MNQ"]}))
    assert rejected_from(writer.asked[0][0]["rows"]) == rejected
    assert arrow_batch(writer.asked[1][1]).to_pylist() == [{"symbol": "MNQ"}]
    client.close()


def test_the_writers_own_words_reach_the_caller(paths: Paths) -> None:
    client = IntakeClient(paths)
    with pytest.raises(StoreError, match="no room") as caught:
        client.ask({"op": "full"})
    assert caught.value.hint == "make room"
    with pytest.raises(StoreError, match="internal error: ZeroDivisionError"):
        client.ask({"op": "broken"})
    assert client.ask({"op": "fine"})["done"] == 3
    client.close()


def test_no_writer_is_told_as_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nothing is writing"):
        IntakeClient(Paths(tmp_path))


def test_a_writer_that_stops_is_told_as_unavailable(tmp_path: Path, writer: Writer) -> None:
    paths = Paths(tmp_path)
    server = IntakeServer(paths, writer)
    server.start()
    client = IntakeClient(paths)
    client.ask({"op": "fine"})
    server.stop()
    with pytest.raises(Unavailable, match="hung up"):
        client.ask({"op": "fine"})
    client.close()


def test_a_request_too_large_is_cut_off(paths: Paths) -> None:
    client = IntakeClient(paths)
    with pytest.raises(Unavailable, match="hung up"):
        client.ask({"op": "x" * (2 << 20)})
    client.close()


def test_a_loop_hands_on_the_same_rows_however_long_they_are(paths: Paths, writer: Writer) -> None:
    rows = pa.RecordBatch.from_pydict({"symbol": ["MNQ" * 100_000]})

    async def hand_on() -> None:
        intake = await open_intake(paths)
        assert await intake.append_rows("gaps", rows) == []
        await intake.close()
        with pytest.raises(Unavailable, match="hung up"):
            await intake.append_rows("gaps", rows)

    anyio.run(hand_on)
    ((header, body),) = writer.asked
    assert header == {"op": "append_rows", "table": "gaps"}
    assert arrow_batch(body).equals(rows)


def test_requests_that_do_not_wait_for_their_reply_are_hung_up_on(
    paths: Paths, writer: Writer
) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        with short_address(paths.intake_socket) as address:
            caller.connect(address)
        caller.sendall(request_bytes({"op": "a"}) + request_bytes({"op": "b"}))
        caller.settimeout(5)
        assert caller.recv(1) == b""
    assert writer.asked == []
