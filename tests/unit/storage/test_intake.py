"""Rows handed to the writer by another process."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import pyarrow as pa
import pytest

from core.batch import Rejected, TickBatch
from core.errors import DiskFull, StoreError, Unavailable
from core.schema import TABLES
from storage.arrow_stream import arrow_batch
from storage.intake import (
    LENGTHS,
    IntakeClient,
    IntakeServer,
    rejected_from,
    request_bytes,
    short_address,
    split,
)
from storage.intake_loop import LoopIntake, open_intake
from storage.paths import Paths
from storage.prepared import Prepared, prepare
from storage.slow import with_seq
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
        return {"done": len(self.asked), "rows": 5, "is_new": [True]}


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


@pytest.mark.parametrize(("count", "raw"), [(40, b"\xfe" * 65_536), (2_000, b"x")])
def test_any_number_of_rejects_arrives(
    paths: Paths, writer: Writer, count: int, raw: bytes
) -> None:
    rejected = [Rejected("uw", "*", "test", "bad \u2713" * 60, raw, n, None) for n in range(count)]
    client = IntakeClient(paths)
    client.reject(rejected)
    client.close()
    assert [r for header, _ in writer.asked for r in rejected_from(header["rows"])] == rejected


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
    rows = with_seq(TABLES["gaps"], [{"symbol": "MNQ", "reason": "gone " * 100_000}], 1)
    ready = prepare("gaps", rows.drop_columns(["seq"]).columns)

    async def hand_on() -> None:
        intake = await open_intake(paths)
        assert await intake.append_prepared("gaps", [["MNQ"]], ready) == [True]
        intake.close()
        with pytest.raises(Unavailable, match="hung up"):
            await intake.append_prepared("gaps", [["MNQ"]], ready)

    anyio.run(hand_on)
    header, body = writer.asked[0]
    assert header.items() >= {"table": "gaps", "told": [["MNQ"]], "seq_at": ready.seq_at}.items()
    arrived = arrow_batch(Prepared(body, 1, header["seq_at"]).numbered(5)).to_pylist()
    assert arrived == with_seq(TABLES["gaps"], rows, 5).to_pylist()


def test_who_asks_at_once_gets_each_his_own_reply(paths: Paths, writer: Writer) -> None:
    async def ask_all() -> list[int]:
        intake = await open_intake(paths)
        found: dict[int, int] = {}

        async def ask(number: int) -> None:
            found[number] = (await intake.ask({"op": "fine"}, bytes(number * 9_000)))["done"]

        async with anyio.create_task_group() as askers:
            for number in range(40):
                askers.start_soon(ask, number)
            askers.start_soon(give_up, intake)
        with pytest.raises(StoreError, match="no room"):
            await intake.ask({"op": "full"})
        intake.close()
        return [found[number] for number in range(40)]

    async def give_up(intake: LoopIntake) -> None:
        with anyio.move_on_after(0):
            await intake.ask({"op": "fine"})

    assert anyio.run(ask_all) == list(range(1, 41))
    assert [len(body) for _, body in writer.asked[:40]] == [number * 9_000 for number in range(40)]


def test_a_writer_that_stops_tells_everybody_who_waits(tmp_path: Path, writer: Writer) -> None:
    paths = Paths(tmp_path)
    has_begun, may_end = threading.Event(), threading.Event()

    def answer_late(header: dict[str, Any], body: bytes) -> dict[str, Any]:
        has_begun.set()
        may_end.wait()
        return {}

    server = IntakeServer(paths, answer_late)
    server.start()
    lost: list[str] = []

    async def ask(intake: LoopIntake) -> None:
        try:
            await intake.ask({"op": "fine"})
        except Unavailable as error:
            lost.append(error.message)

    async def ask_all() -> None:
        intake = await open_intake(paths)
        async with anyio.create_task_group() as askers:
            for _ in range(3):
                askers.start_soon(ask, intake)
            await anyio.to_thread.run_sync(has_begun.wait)
            server.stop()

    anyio.run(ask_all)
    may_end.set()
    assert lost == ["the writer hung up"] * 3


def test_requests_in_pieces_and_together_are_answered_in_their_order(
    paths: Paths, writer: Writer
) -> None:
    sent = b"".join(request_bytes({"op": op}, op.encode() * 5) for op in "abc")
    with socket.socket(socket.AF_UNIX) as caller:
        with short_address(paths.intake_socket) as address:
            caller.connect(address)
        for start in range(0, len(sent), 7):
            caller.sendall(sent[start : start + 7])
        caller.settimeout(5)
        raw = bytearray()
        replies: list[int] = []
        while len(replies) < 3:
            raw += caller.recv(11)
            replies += [reply["done"] for reply, _ in split(raw)]
    assert replies == [1, 2, 3]
    assert writer.asked == [({"op": op}, op.encode() * 5) for op in "abc"]


def test_what_is_no_request_is_hung_up_on(paths: Paths, writer: Writer) -> None:
    for raw in (b"\xff" * 8, LENGTHS.pack(2, 0) + b"[]", LENGTHS.pack(1, 0) + b"{"):
        with socket.socket(socket.AF_UNIX) as caller:
            with short_address(paths.intake_socket) as address:
                caller.connect(address)
            caller.sendall(raw)
            caller.settimeout(5)
            assert caller.recv(1) == b""
    assert writer.asked == []
