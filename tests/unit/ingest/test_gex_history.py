"""History files, good and hostile, up to the spool."""

import gzip
import json
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import FeedGarbled
from ingest.gex_history import HistoryInvalid, about_file, read_history
from ingest.gex_inflate import PIECE_BYTES, Limits, inflate
from ingest.gex_links import Series
from ingest.gex_split import RECORD_BYTES_MAX, records
from ingest.gex_spool import spooled_parts
from tests.fakes import gexbot_made as made
from tests.fakes.gexbot_server import bomb, day_json

SERIES = Series("NQ_NDX", "classic", "gex_zero", "2026-11-20")
NOW_NS = (made.CLOSE_S + 3_600) * 10**9
SMALL = Limits(compressed_bytes=2**20, inflated_bytes=8 * 2**20)


def pieces(raw, size=1_000):
    return (raw[at : at + size] for at in range(0, len(raw), size))


def read(folder, raw, series=SERIES, limits=SMALL):
    about = about_file(series, "hist", NOW_NS)
    return read_history(pieces(raw), series, about, folder / "spool", limits)


def spooled(folder):
    return [row for part in spooled_parts(folder / "spool") for row in part.read().to_pylist()]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
MARKS = (b"", b"\xef\xbb\xbf")
OBJECTS = st.lists(st.dictionaries(st.text(max_size=6), JSON, max_size=4), max_size=6)


@given(
    OBJECTS, st.integers(1, 40), st.sampled_from([None, 2]), st.booleans(), st.sampled_from(MARKS)
)
@settings(deadline=None)
def test_cutting_gives_back_every_object_wherever_the_pieces_end(
    objects, size, indent, is_lines, mark
):
    if is_lines:
        raw = "\n".join(json.dumps(one) for one in objects).encode()
    else:
        raw = json.dumps(objects, indent=indent, ensure_ascii=False).encode()
    assert [json.loads(one) for one in records(pieces(mark + raw, size))] == objects


@given(OBJECTS.filter(bool), st.data())
@settings(deadline=None)
def test_a_torn_array_is_never_taken_for_a_whole_one(objects, data):
    raw = json.dumps(objects).encode()
    cut = data.draw(st.integers(1, len(raw) - 1))
    with pytest.raises(FeedGarbled):
        list(records(pieces(raw[:cut], 7)))


@given(st.binary(max_size=60))
def test_any_bytes_are_records_or_a_garbled_file(raw):
    with suppress(FeedGarbled):
        assert all(isinstance(one, bytes) for one in records([raw]))


def test_what_is_no_object_is_a_record_of_its_own():
    assert list(records([b'[null, 12.5,"a", {"a":"}"} , true]'])) == [
        b"null", b"12.5", b'"a"', b'{"a":"}"}', b"true",
    ]  # fmt: skip


@pytest.mark.parametrize("raw", [b"[[1]]", b"[{}] x", b"<html>", b"[{}]]", b"[", b"]", b'"text"'])
def test_a_file_of_another_kind_is_garbled(raw):
    with pytest.raises(FeedGarbled):
        list(records([raw]))


def test_a_record_without_an_end_is_given_up():
    endless = (b'[{"a": "' if i == 0 else b"x" * 65_536 for i in range(10_000))
    with pytest.raises(FeedGarbled, match=f"{RECORD_BYTES_MAX:,}"):
        list(records(endless))


@pytest.mark.parametrize(
    "pack",
    [
        lambda raw: raw,
        gzip.compress,
        lambda raw: gzip.compress(gzip.compress(raw)),
        lambda raw: gzip.compress(raw[:700]) + gzip.compress(raw[700:]),
        lambda raw: gzip.compress(raw) + b"\0" * 512,
    ],
    ids=["plain", "gzip", "twice", "members", "padded"],
)
@pytest.mark.parametrize("size", [1, 17, 1 << 16])
def test_a_file_is_inflated_whatever_it_says_of_itself(pack, size):
    raw = day_json(range(made.OPEN_S, made.OPEN_S + 5))
    assert b"".join(inflate(pieces(pack(raw), size), SMALL)) == raw


@pytest.mark.parametrize(
    "raw",
    [
        gzip.compress(gzip.compress(gzip.compress(b"[]"))),
        gzip.compress(b"[]" * 900)[:-9],
        gzip.compress(b"[]")[:5],
        b"\x1f\x8b" + b"x" * 40,
        gzip.compress(b"[]") + b"rest",
    ],
    ids=["thrice", "truncated", "head", "noise", "rest"],
)
def test_a_broken_file_is_garbled(raw):
    with pytest.raises(FeedGarbled):
        list(inflate(pieces(raw, 64), SMALL))


def test_a_bomb_is_given_up_early_and_in_small_pieces():
    sizes = []
    with pytest.raises(FeedGarbled, match="inflate"):
        sizes.extend(len(piece) for piece in inflate([bomb()], Limits()))
    assert max(sizes) <= PIECE_BYTES
    assert sum(sizes) <= 200 * len(bomb())


def test_a_slow_bomb_ends_at_the_limit():
    noise = zlib.compress(b"0123456789" * 50)
    raw = gzip.compress(noise * 300_000)
    with pytest.raises(FeedGarbled, match="bytes inside"):
        list(inflate([raw], Limits(inflated_bytes=4 * 2**20, ratio=10**6)))


def test_a_long_file_ends_at_its_limit():
    with pytest.raises(FeedGarbled, match="at most"):
        list(inflate(iter(lambda: b"x" * 65_536, None), SMALL))


def test_a_good_file_is_spooled_hour_by_hour(tmp_path):
    seconds = range(made.OPEN_S + 1_790, made.OPEN_S + 1_810)
    found = read(tmp_path, gzip.compress(day_json(seconds)))
    assert (found.records, found.snapshots, found.rejected) == (20, 20, 0)
    assert (found.first_us, found.last_us) == (seconds[0] * 10**6, seconds[-1] * 10**6)
    assert [part.read().num_rows for part in spooled_parts(tmp_path / "spool")] == [10, 10]
    rows = spooled(tmp_path)
    assert {row["via"] for row in rows} == {"hist"}
    assert {row["extra"] for row in rows} == {None}
    assert rows[0]["strikes"][0]["strike"] == made.chain(seconds[0])["strikes"][0][0]


def test_a_file_of_another_series_is_kept_as_that_series(tmp_path):
    raw = json.dumps([made.orderflow(made.OPEN_S, "SPX")]).encode()
    read(tmp_path, raw, Series("SPX", "orderflow", "orderflow", "2026-11-20"))
    (row,) = spooled(tmp_path)
    assert (row["package"], row["category"]) == ("orderflow", "orderflow")


def test_repeats_are_left_out_and_collisions_are_rejects(tmp_path):
    good = [made.chain(made.OPEN_S + i) for i in range(300)]
    odd = good[3] | {"spot": 1.0}
    found = read(tmp_path, json.dumps([*good, good[5], odd]).encode())
    assert (found.snapshots, found.repeats, found.rejected) == (300, 1, 1)
    assert json.loads(found.rejects[0].raw)["spot"] == 1.0
    assert len(spooled(tmp_path)) == 300


@pytest.mark.parametrize("bad", [b"null", b'{"spot": NaN}', b'{"ticker": 1}', b"[1]"[1:2]])
def test_few_bad_records_are_rejects_and_many_spoil_the_file(tmp_path, bad):
    good = [json.dumps(made.chain(made.OPEN_S + i)).encode() for i in range(200)]
    found = read(tmp_path, b"[" + b",".join([bad, *good]) + b"]")
    assert (found.snapshots, found.rejected) == (200, 1)
    assert found.rejects[0].raw == bad
    with pytest.raises(HistoryInvalid, match="3 of 203"):
        read(tmp_path, b"[" + b",".join([bad] * 3 + good) + b"]")


def test_snapshots_of_another_ticker_do_not_slip_in(tmp_path):
    with pytest.raises(HistoryInvalid, match="expected NQ_NDX, found NDX"):
        read(tmp_path, day_json(range(made.OPEN_S, made.OPEN_S + 9), "NDX"))


def test_a_file_without_a_snapshot_is_refused(tmp_path):
    with pytest.raises(HistoryInvalid):
        read(tmp_path, b"[]")


def test_a_file_of_weeks_is_refused(tmp_path):
    raw = day_json(range(made.OPEN_S - 300 * 3_600, made.OPEN_S, 3_600))
    with pytest.raises(FeedGarbled, match="hours"):
        read(tmp_path, raw)
