"""A slow table as it is read, against plain lists: however it grew, whenever it was looked at."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from core.schema import TABLES
from storage.disk import OsDisk
from storage.hot import HotReader
from storage.mapped import HotSlice
from storage.paths import Paths
from storage.pieces import FRAMES_MAX
from storage.ranges import Range
from storage.slow_reader import SlowReader
from storage.store import Store, StoreOptions
from tests.fakes.manual_clock import ManualClock
from tests.fakes.ticks import START_US

SYMBOLS = ("NDX", "SPX", "SPY")
Row = tuple[str, int, int]  # symbol, ts_event, seq

frame = st.lists(st.tuples(st.sampled_from(SYMBOLS), st.integers(0, 50)), min_size=1, max_size=9)
frames = st.lists(
    st.one_of(st.lists(frame, min_size=1, max_size=12), st.sampled_from(["look", "restart"])),
    min_size=1,
    max_size=9,
)
bound = st.one_of(st.none(), st.integers(-1, 52))


def open_store(folder: Path) -> Store:
    options = StoreOptions(commit_ms=60_000, tables=frozenset({"gex"}))
    return Store.open(Paths(folder), options, disk=OsDisk(), clock=ManualClock())


def rows_as(found: pa.RecordBatch) -> list[Row]:
    found.validate(full=True)
    times = [us - START_US for us in found.column("ts_event").cast(pa.int64()).to_pylist()]
    return list(
        zip(
            found.column("symbol").to_pylist(),
            times,
            found.column("seq").to_pylist(),
            strict=True,
        )
    )


def last_of(reader: SlowReader, symbol: str, after: int, up_to: int) -> list[Row]:
    names = ("symbol", "ts_event", "seq", "ticker")
    found = reader.last_values(symbol, names, after_seq=after, up_to_seq=up_to)
    if found is None:
        return []
    assert found["ticker"] == found["symbol"]
    assert isinstance(found["ts_event"], datetime)
    us = int(found["ts_event"].replace(tzinfo=UTC).timestamp() * 1_000_000)
    return [(str(found["symbol"]), us - START_US, int(str(found["seq"])))]


def check_slice(part: HotSlice) -> list[Row]:
    found = rows_as(part.batch)
    assert part.batch.schema == TABLES["gex"].schema
    assert found
    times = [row[1] for row in found]
    assert (part.first_seq, part.last_seq) == (found[0][2], found[-1][2])
    assert (part.min_ts_us, part.max_ts_us) == (START_US + min(times), START_US + max(times))
    assert part.is_sorted == (times == sorted(times))
    return found


def check(hot: HotReader, rows: list[Row], after: int, up_to: int, wanted: Range) -> None:
    shown = [row for row in rows if after < row[2] <= up_to]
    reader = hot.table("gex")
    for symbol in SYMBOLS:  # before anything else had the frames decoded
        mine = [row for row in shown if row[0] == symbol]
        assert last_of(reader, symbol, after, up_to) == mine[-1:]
    assert [
        row
        for batch in reader.plain(after_seq=after, up_to_seq=up_to)
        for row in rows_as(batch.cast(TABLES["gex"].plain_schema))
    ] == shown
    assert hot.symbols("gex") == sorted({row[0] for row in rows})
    for symbol in ("", *SYMBOLS):
        mine = [row for row in shown if symbol in ("", row[0])]
        found = hot.slices("gex", symbol, after_seq=after, up_to_seq=up_to)
        assert [row for part in found for row in check_slice(part)] == mine
        some = hot.slices("gex", symbol, after_seq=after, up_to_seq=up_to, wanted=wanted)
        seen = [row for part in some for row in check_slice(part)]
        low, high = wanted.start_us, wanted.end_us
        inside = [
            row
            for row in mine
            if (low is None or START_US + row[1] >= low)
            and (high is None or START_US + row[1] < high)
        ]
        assert set(inside) <= set(seen) <= set(mine)
        assert all(wanted.overlaps(part.min_ts_us, part.max_ts_us) for part in some)
        if symbol:
            assert last_of(reader, symbol, after, up_to) == mine[-1:]


@settings(max_examples=60, deadline=None)
@given(frames, st.integers(0, 60), st.integers(0, 200), bound, bound)
def test_every_look_gives_what_a_plain_list_would(
    steps: list[object], after: int, up_to: int, low: int | None, high: int | None
) -> None:
    wanted = Range(
        None if low is None else START_US + low, None if high is None else START_US + high
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        hot = HotReader(Paths(Path(folder)))
        for step in steps:
            if step == "restart":
                store.close()
                store = open_store(Path(folder))
            elif isinstance(step, list):
                for some in step:
                    given = [
                        {"symbol": name, "ts_event": START_US + at, "ticker": name}
                        for name, at in some
                    ]
                    first_seq = store.append_rows("gex", given)
                    rows += [(name, at, first_seq + k) for k, (name, at) in enumerate(some)]
            else:
                check(hot, rows, after, min(up_to, len(rows)), wanted)
        check(hot, rows, after, min(up_to, len(rows)), wanted)
        check(hot, rows, 0, len(rows), Range())
        store.close()


def test_who_only_wants_the_newest_row_leaves_few_frames_undecoded(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    hot = HotReader(Paths(tmp_path))
    reader = hot.table("gex")
    count = 2 * FRAMES_MAX + 5
    for at in range(count):
        row = {"symbol": SYMBOLS[at % 2], "ts_event": START_US + at, "ticker": SYMBOLS[at % 2]}
        store.append_rows("gex", [row])
        mine, other = SYMBOLS[at % 2], SYMBOLS[(at + 1) % 2]
        assert last_of(reader, mine, at, at + 1) == [(mine, at, at + 1)]
        assert last_of(reader, other, at, at + 1) == []
    (log,) = reader._logs.values()
    assert len(log.waiting) < FRAMES_MAX
    assert sum(len(group.seqs) for piece in log.pieces for group in piece.groups.values())
    seen = [row for part in hot.slices("gex", "") for row in check_slice(part)]
    assert [row[2] for row in seen] == list(range(1, count + 1))
    store.close()
