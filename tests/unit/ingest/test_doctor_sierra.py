import pytest

from core.clock import NS_PER_US
from ingest.doctor_sierra import look_sierra
from tests.fakes.depth_writer import STEM, PairOptions, clear, depth, make_pair, record
from tests.fakes.manual_clock import ManualClock
from tests.fakes.scid_writer import bar, scid
from tests.fakes.sierra_house import NAME, NOON_US


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "Sierra" / "Data"
    (folder / "MarketDepthData").mkdir(parents=True)
    return folder


class GrowingClock(ManualClock):
    """Each look finds a file that has grown, if there is one."""

    path = None

    def sleep_s(self, seconds):
        super().sleep_s(seconds)
        if self.path is not None and int(self.monotonic_ns() / 1e9 / 0.5) > self.grown:
            self.grown += 1
            with self.path.open("ab") as file:
                file.write(record(NOON_US, "modify_bid", 480_000, 3))

    grown = 0


def look(data, roots=(), path=None):
    clock = GrowingClock(NOON_US * NS_PER_US + 700_000_000_000)
    clock.path = path
    return [(f.state, f.told) for f in look_sierra(data.parent, roots, clock)]


def test_without_the_folder_it_is_off(tmp_path):
    [(state, told)] = look(tmp_path / "nothing" / "Data")
    assert state == "off"
    assert "set SIERRA_DIR" in told


def test_it_tells_what_each_file_shows(data):
    pair = make_pair(3, PairOptions(start_us=NOON_US, events=4_000))
    (data / f"{STEM}.scid").write_bytes(scid(*pair.scid, tail=b"x" * 11))
    path = data / "MarketDepthData" / NAME
    path.write_bytes(depth(*pair.depth, clear(NOON_US + 600_000_000), tail=b"y" * 7))
    _, trades, book, growth = look(data)
    assert {trades[0], book[0], growth[0]} == {"fine"}
    for told in (f"{len(pair.scid):,} trades", "0 bars", "prices x100", "11 bytes of a record"):
        assert told in trades[1], told
    for told in (
        "full snapshots of up to 27 levels",
        "1 lone clears",
        "7 bytes of a record",
        "s old",
    ):
        assert told in book[1], told
    assert "did not grow" in growth[1]


def test_it_tells_how_often_a_file_of_today_grows(data):
    path = data / "MarketDepthData" / NAME
    path.write_bytes(depth(*make_pair(3, PairOptions(start_us=NOON_US, events=50)).depth))
    assert "grew 12 times in 6 s, at most 0.5" in look(data, path=path)[-1][1]


def test_it_says_what_to_do_about_bars_garbage_and_a_day_without_depth(data):
    (data / f"{STEM}.scid").write_bytes(
        scid(*make_pair(3, PairOptions(start_us=NOON_US)).scid, bar(NOON_US, 1, 2, 1, 2))
    )
    (data / "MarketDepthData" / f"{STEM}.2023-12-19.depth").write_bytes(b"garbage" * 20)
    findings = look(data)
    assert [state for state, _ in findings] == ["fine", "wrong", "wrong", "off"]
    assert "set Intraday Data Storage Time Unit to 1 Tick" in findings[1][1]
    assert "begin with b'SCDD'" in findings[2][1]
    assert "switch Record Market Depth Data on" in findings[3][1]


def test_only_the_roots_asked_for_are_looked_at(data):
    for stem in (STEM, "NQH24_FUT_CME"):
        (data / f"{stem}.scid").write_bytes(scid(*make_pair(3).scid))
    told = [told for _, told in look(data, roots=("ES",))]
    assert any(STEM in line for line in told)
    assert not any("NQH24" in line for line in told)
