"""What the doctor looks for in Sierra Chart's files: what no document says and each machine shows.

How old files and their newest records are, how prices are scaled, how often full snapshots come and
how large they are, clears, oddities, records in the middle of being written, and how often a file
of today grows. It only reads, at most the end of each file.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.clock import NS_PER_S, NS_PER_US, US_PER_S, Clock
from core.errors import FeedGarbled
from ingest import depth, scid
from ingest.contract import Contract, parse_stem
from ingest.depth import DepthNaming, open_depth, parse_name
from ingest.finding import Finding
from ingest.scale import find_scale, tick_of
from ingest.scid import open_scid
from ingest.sierra_file import EPOCH_US, RecordFile, Records

ABOUT = "Sierra Chart"
FILES_MAX = 6  # of each kind, the newest
RECORDS_MAX = 4_000_000  # the end of each file
WATCH_S = 6.0  # a little longer than Sierra Chart's own flush time
STEP_S = 0.05


def look_sierra(folder: Path, roots: Sequence[str], clock: Clock) -> Iterator[Finding]:
    """Every file worth looking at; off where the folder is absent."""
    data = folder / "Data"
    if not data.is_dir():
        yield Finding("off", ABOUT, f"no folder {data}; set SIERRA_DIR")
        return
    now_us = clock.now_ns() // NS_PER_US
    trades = _newest(data, scid.FORMAT.suffix, roots, now_us)
    books = _newest(data / "MarketDepthData", depth.FORMAT.suffix, roots, now_us)
    yield Finding("fine", ABOUT, f"{len(trades)} .scid and {len(books)} .depth files in {data}")
    for path in trades[:FILES_MAX]:
        yield _looked(path, partial(_trades, path, now_us))
    for path in books[:FILES_MAX]:
        yield _looked(path, partial(_book, path, now_us))
    named = {path: parse_name(path.name) for path in books}
    current = [path for path, name in named.items() if name and name[1] == _day(now_us)]
    if current:
        yield _growth(current[0], clock)
    else:
        yield Finding(
            "off", ABOUT, "no depth file of today; switch Record Market Depth Data on and reconnect"
        )


def _newest(folder: Path, suffix: str, roots: Sequence[str], now_us: int) -> list[Path]:
    """Files of a kind and of some roots (all where none is named), the newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix.lower() == suffix]
    ours = [path for path in found if not roots or _contract(path, now_us).root in roots]
    return sorted(ours, key=lambda path: path.stat().st_mtime, reverse=True)


def _contract(path: Path, now_us: int) -> Contract:
    """What a file's name says; a name that says nothing is a contract of its own."""
    try:
        return parse_stem(path.name.split(".")[0], _day(now_us))
    except FeedGarbled:
        return Contract(path.name, path.name)


def _day(now_us: int) -> date:
    return datetime.fromtimestamp(now_us // US_PER_S, UTC).date()


def _looked(path: Path, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except FeedGarbled as error:
        return Finding("wrong", ABOUT, f"{error.message}; {error.hint}")
    except OSError as error:
        return Finding("wrong", ABOUT, f"{path.name} cannot be read: {error.strerror}")


def _trades(path: Path, now_us: int) -> Finding:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        file = open_scid(partial(os.pread, descriptor), path.stat().st_size, path.name)
        records = file.read(max(0, file.records - RECORDS_MAX), RECORDS_MAX)
        about = _contract(path, now_us)
        scale = find_scale(scid.sample_prices(file), about.root, is_future=about.is_future)
        naming = scid.Naming(about.root, about.contract, scale)
        tally = scid.decode(records, naming, now_us).tally
        told = f"{path.name}: {_ends(file, records, now_us)}; prices x{scale}; "
        told += f"{tally.trades:,} trades, {tally.quotes:,} quotes, {tally.bars:,} bars"
        if tally.bars:
            return Finding("wrong", ABOUT, f"{told}; set Intraday Data Storage Time Unit to 1 Tick")
        return Finding("fine", ABOUT, told)
    finally:
        os.close(descriptor)


def _book(path: Path, now_us: int) -> Finding:
    from ingest.book import ANOMALIES, Book, find_tick

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        file = open_depth(partial(os.pread, descriptor), path.stat().st_size, path.name)
        first = max(0, file.records - RECORDS_MAX)
        records = file.read(first, RECORDS_MAX)
        about, named = _contract(path, now_us), parse_name(path.name)
        if named is None:
            raise FeedGarbled(f"{path.name} names no day", hint="such as ESH24.2023-12-25.depth")
        scale = find_scale(depth.sample_prices(file), about.root, is_future=about.is_future)
        naming = DepthNaming(about.root, about.contract, scale, named[1])
        decoded = depth.decode(records, first, naming, now_us)
        prices = np.asarray(decoded.batch.columns["price"], np.float64)
        book = Book(tick_of(about.root) or find_tick(prices[prices > 0]) or 1.0)
        book.apply(decoded.batch, wants_bests=False, wants_ladders=False)
        odd = {c.name.lower(): n for c in ANOMALIES if (n := book.counts[c])}
        told = f"{path.name}: {_ends(file, records, now_us)}; prices x{scale}; "
        told += f"{_snapshots(decoded.batch.columns)}; "
        told += ", ".join(f"{n:,} {name}" for name, n in odd.items()) or "no oddities"
        if decoded.refused:
            return Finding("wrong", ABOUT, f"{told}; {len(decoded.refused):,} records refused")
        return Finding("fine", ABOUT, told)
    finally:
        os.close(descriptor)


def _ends(file: RecordFile, records: Records, now_us: int) -> str:
    """How many records, how old the newest is, and whether one is half written."""
    told = f"{file.records:,} records"
    times = records["time"][records["time"] > 0]
    if len(times):
        told += f", the newest {(now_us - (int(times.max()) - EPOCH_US)) / US_PER_S:,.1f} s old"
    blanks = len(records) - len(times)
    if blanks:
        told += f", {blanks:,} still blank"
    if file.partial_bytes:
        told += f", {file.partial_bytes} bytes of a record being written"
    return told


def _snapshots(columns: Mapping[str, NDArray[np.generic]]) -> str:
    """Full snapshots: how many, how far apart, how many levels; and lone clears."""
    command, ends = np.asarray(columns["command"]), np.asarray(columns["end_of_batch"])
    times = np.asarray(columns["ts_event"], np.int64)
    clears = np.flatnonzero(command == depth.CLEAR)
    lone = clears[ends[clears]]
    full = clears[~ends[clears]]
    told = f"{len(full)} full snapshots"
    if len(full):
        batch_ends = np.flatnonzero(ends)
        places = np.searchsorted(batch_ends, full)
        whole = places < len(batch_ends)
        if whole.any():
            levels = batch_ends[places[whole]] - full[whole]
            told += f" of up to {int(levels.max()):,} levels"
    if len(full) > 1:
        told += f", {float(np.median(np.diff(times[full]))) / US_PER_S:,.0f} s apart"
    return f"{told}, {len(lone)} lone clears"


def _growth(path: Path, clock: Clock) -> Finding:
    """How often a file grows while it is watched, and by how much."""
    sizes = [path.stat().st_size]
    grown_ns = [clock.monotonic_ns()]
    end_ns = grown_ns[0] + int(WATCH_S * NS_PER_S)
    while clock.monotonic_ns() < end_ns:
        clock.sleep_s(STEP_S)
        size = path.stat().st_size
        if size != sizes[-1]:
            sizes.append(size)
            grown_ns.append(clock.monotonic_ns())
    if len(sizes) == 1:
        return Finding(
            "fine", ABOUT, f"{path.name} did not grow within {WATCH_S:g} s: is the market open?"
        )
    pauses_s = np.diff(grown_ns) / NS_PER_S
    return Finding(
        "fine",
        ABOUT,
        f"{path.name} grew {len(sizes) - 1} times in {WATCH_S:g} s, at most {pauses_s.max():.2f} s "
        "apart; lower Intraday File Flush Time in Milliseconds for less delay",
    )
