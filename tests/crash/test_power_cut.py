"""The power is cut at every step of the hot store's work, on a disk that forgets."""

from pathlib import Path

import numpy as np
import pytest

from core.errors import DiskFull, WalCorrupt
from storage.fast import FastTable
from storage.layout import layout_of
from storage.paths import Paths
from storage.recovery import segment_numbers
from storage.segment import Segment
from storage.slow import SlowTable
from storage.words import Words
from tests.fakes.forgetful_disk import ForgetfulDisk, PowerCut
from tests.fakes.ticks import trades

SMALL = layout_of("trades", block_rows=64, blocks_max=3)
SYMBOLS = ("MNQ", "NQ")


def open_table(folder: Path, disk: ForgetfulDisk) -> FastTable:
    paths = Paths(folder)
    words = Words(paths, disk)
    words.recover()
    return FastTable(paths, "trades", words=words, disk=disk, layout=SMALL)


def rows_of(table: FastTable, folder: Path, disk: ForgetfulDisk) -> dict[int, tuple[str, int]]:
    """seq -> (symbol, source number) of every row in the segments."""
    found: dict[int, tuple[str, int]] = {}
    places = {column.name: place for place, column in enumerate(SMALL.columns)}
    names = table._words.by_column.get("symbol", [])
    for number in segment_numbers(disk, Paths(folder), "trades"):
        segment = Segment.open(disk, Paths(folder).segment("trades", number), SMALL)
        for block in range(segment.blocks_used):
            rows = int(segment.visible_rows[block])
            values = segment.block(block).values
            for row in range(rows):
                seq = int(values[places["seq"]][row])
                assert seq not in found, "a seq twice"
                found[seq] = (
                    names[int(segment.symbols[block])],
                    int(values[places["source_seq"]][row]),
                )
    return found


def work(table: FastTable, told: list[int]) -> None:
    """Append and commit for a while; `told` holds the durable seq a client was last told."""
    for step in range(12):
        table.append(trades(SYMBOLS[step % 2], 20 + step, first=step * 100))
        if step % 3 == 2:
            told.append(table.commit())
    table.close()
    told.append(table.next_seq - 1)


def expected_rows() -> dict[int, tuple[str, int]]:
    rows: dict[int, tuple[str, int]] = {}
    for step in range(12):
        for number in range(20 + step):
            rows[len(rows) + 1] = (SYMBOLS[step % 2], step * 100 + number)
    return rows


def run(folder: Path, disk: ForgetfulDisk, told: list[int]) -> None:
    table = open_table(folder, disk)
    table.recover()
    work(table, told)


def test_whatever_was_told_durable_survives_a_power_cut_at_every_step(tmp_path: Path) -> None:
    dry = ForgetfulDisk()
    run(tmp_path / "dry", dry, [])
    steps = dry.steps
    assert steps > 20
    expected = expected_rows()
    for cut in range(steps):
        for seed in range(3):
            folder = tmp_path / f"{cut}-{seed}"
            disk = ForgetfulDisk(seed)
            told = [0]
            disk.cut_after = cut
            with pytest.raises(PowerCut):
                run(folder, disk, told)
            disk.cut_power()
            again = open_table(folder, disk)
            again.recover()
            kept = rows_of(again, folder, disk)
            assert again.next_seq == len(kept) + 1
            assert len(kept) >= told[-1]
            assert kept == {seq: expected[seq] for seq in range(1, len(kept) + 1)}


def test_appending_goes_on_after_a_power_cut(tmp_path: Path) -> None:
    disk = ForgetfulDisk(7)
    table = open_table(tmp_path, disk)
    table.recover()
    table.append(trades("MNQ", 50))
    table.commit()
    table.append(trades("MNQ", 30, first=50))
    disk.cut_power()
    again = open_table(tmp_path, disk)
    found = again.recover()
    assert 50 <= found.rows <= 80
    first = again.append(trades("MNQ", 10, first=200))
    again.close()
    assert first == found.rows + 1
    last = open_table(tmp_path, disk)
    assert last.recover().rows == found.rows + 10


def test_a_killed_process_loses_nothing_it_had_appended(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    table = open_table(tmp_path, disk)
    table.recover()
    table.append(trades("MNQ", 100))
    table.append(trades("NQ", 30))
    again = open_table(tmp_path, disk)  # the same boot: what was in memory is still there
    assert again.recover().rows == 130
    assert len(rows_of(again, tmp_path, disk)) == 130


def test_damage_in_committed_rows_stops_the_start_and_names_the_good_length(
    tmp_path: Path,
) -> None:
    disk = ForgetfulDisk()
    table = open_table(tmp_path, disk)
    table.recover()
    table.append(trades("MNQ", 60))
    table.commit()
    table.commit()
    path = Paths(tmp_path).segment("trades", 1)
    place = next(c for c in SMALL.columns if c.name == "price").offset
    disk.flip(path, SMALL.block_start(0) + place + 8 * 30)
    disk.cut_power()
    with pytest.raises(WalCorrupt, match="good length: 0 of 60 rows") as caught:
        open_table(tmp_path, disk).recover()
    assert "move it out of hot/trades/" in caught.value.hint


def test_a_segment_cut_short_stops_the_start_and_is_named(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    table = open_table(tmp_path, disk)
    table.recover()
    table.append(trades("MNQ", 60))
    table.close()
    disk.truncate(Paths(tmp_path).segment("trades", 1), SMALL.block_start(0) + 100)
    with pytest.raises(WalCorrupt, match=r"00000001\.seg.*good length: 0 of 60 rows"):
        open_table(tmp_path, disk).recover()


def test_a_segment_taken_away_is_told_as_a_hole(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    table = open_table(tmp_path, disk)
    table.recover()
    for step in range(12):
        table.append(trades("MNQ", 60, first=step * 60))
    table.close()
    disk.remove(Paths(tmp_path).segment("trades", 2))
    again = open_table(tmp_path, disk)
    found = again.recover()
    assert [(hole.first_seq, hole.last_seq) for hole in found.holes] == [(181, 360)]
    assert again.next_seq == 721


def test_a_full_disk_refuses_the_batch_and_keeps_what_is_there(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    table = open_table(tmp_path, disk)
    table.recover()
    table.append(trades("MNQ", 150))
    disk.room_bytes = 0
    with pytest.raises(DiskFull):
        table.append(trades("MNQ", 64, first=150))
    disk.room_bytes = None
    first = table.append(trades("MNQ", 64, first=150))
    table.close()
    again = open_table(tmp_path, disk)
    again.recover()
    numbers = [number for _, number in rows_of(again, tmp_path, disk).values()]
    assert first + 63 == len(numbers)
    assert set(range(214)) == set(numbers)


def gap(number: int) -> dict[str, object]:
    return {"symbol": "MNQ", "ts_event": number, "ts_recv": number, "gap_id": number}


def test_slow_logs_keep_what_was_told_durable_at_every_step(tmp_path: Path) -> None:
    def open_slow(folder: Path, disk: ForgetfulDisk) -> SlowTable:
        return SlowTable(Paths(folder), "gaps", disk=disk)

    def run_slow(folder: Path, disk: ForgetfulDisk, told: list[int]) -> None:
        table = open_slow(folder, disk)
        table.recover()
        for step in range(8):
            table.append([gap(step * 10 + n) for n in range(step % 3 + 1)])
            if step % 2:
                told.append(table.commit())
        table.close()
        told.append(table.next_seq - 1)

    dry = ForgetfulDisk()
    run_slow(tmp_path / "dry", dry, [])
    for cut in range(dry.steps):
        for seed in range(3):
            folder = tmp_path / f"{cut}-{seed}"
            disk = ForgetfulDisk(seed)
            told = [0]
            disk.cut_after = cut
            with pytest.raises(PowerCut):
                run_slow(folder, disk, told)
            disk.cut_power()
            again = open_slow(folder, disk)
            found = again.recover()
            assert found.rows == again.next_seq - 1 >= told[-1]


def test_a_damaged_frame_with_whole_ones_after_it_stops_the_start(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    table = SlowTable(Paths(tmp_path), "gaps", disk=disk)
    table.recover()
    for number in range(3):
        table.append([gap(number)])
    table.close()
    disk.flip(Paths(tmp_path).segment("gaps", 1), 100)
    with pytest.raises(WalCorrupt, match="good length: 0 bytes"):
        SlowTable(Paths(tmp_path), "gaps", disk=disk).recover()


def test_bitmaps_are_derived_again_from_the_values(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    table = open_table(tmp_path, disk)
    table.recover()
    table.append(trades("MNQ", 20))
    table.close()
    path = Paths(tmp_path).segment("trades", 1)
    bid = next(c for c in SMALL.columns if c.name == "bid")
    assert bid.bitmap_offset is not None
    place = SMALL.block_start(0) + bid.bitmap_offset
    before = disk.read(path)[place : place + 3]
    disk.flip(path, place)
    open_table(tmp_path, disk).recover()
    assert disk.read(path)[place : place + 3] == before
    bits = np.unpackbits(np.frombuffer(before, np.uint8), bitorder="little")[:20]
    assert list(np.flatnonzero(bits == 0)) == [0, 5, 10, 15]
