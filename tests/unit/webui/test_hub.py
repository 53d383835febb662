import re

import orjson
import pytest

from webui.assets import HERE
from webui.hub import ACK_EVERY, OVERDUE_MAX, SLOW_AT, SLOW_TICKS, TOPICS_MAX, UNACKED_MAX, Watcher


class Outlet:
    """Keeps the messages that were written; takes none while it is full."""

    def __init__(self):
        self.frames = []
        self.is_full = False

    def write(self, frame):
        if not self.is_full:
            self.frames.append(frame)
        return not self.is_full

    @property
    def told(self):
        """The last message as JSON."""
        return read(self.frames[-1])


def read(frame):
    return orjson.loads(frame[frame.index(b"{") :])


@pytest.fixture
def hub(site):
    site.trade("MNQ", 24_916.25)
    site.look()
    return site.house.hub


def tick(hub):
    """One round of the hub, handed out."""
    hub._gather(frozenset().union(*(w.topics for w in hub.watchers)))
    hub._show()
    hub._hand_out()
    hub._tick += 1


def follow(hub, *topics):
    """A watcher of these topics after one round."""
    watcher = Watcher("", Outlet())
    watcher.want(topics)
    hub.watchers.add(watcher)
    hub._tick = 0
    tick(hub)
    return watcher


def test_the_first_frame_is_whole_and_a_still_picture_sends_nothing_more(hub):
    watcher = follow(hub, "status", "bar:MNQ")
    assert set(watcher.outlet.told["d"]) == {"status", "bar:MNQ"}
    assert watcher.unacked == [watcher.outlet.told["n"]]
    tick(hub)
    assert len(watcher.outlet.frames) == 1


def test_a_frame_is_written_once_for_all_who_want_the_same(hub):
    watchers = [Watcher("", Outlet()) for _ in range(3)]
    for watcher in watchers:
        watcher.want(["status", "bar:MNQ"])
        hub.watchers.add(watcher)
    tick(hub)
    one, *others = (watcher.outlet.frames[0] for watcher in watchers)
    assert all(other is one for other in others)


def test_who_comes_later_is_given_all_that_is_known_at_once(hub):
    follow(hub, "status", "bar:MNQ")
    late = Watcher("", Outlet())
    late.want(["status", "bar:MNQ"])
    hub.offer(late)
    assert set(late.outlet.told["d"]) == {"status", "bar:MNQ"}


def test_a_topic_is_made_again_only_where_what_it_is_made_of_moved(hub, site):
    follow(hub, "events")
    while "events" not in hub._topics:
        tick(hub)
    made = []
    hub._makers = {"events": lambda: made.append(1)}
    hub._tick = SLOW_TICKS + SLOW_AT["events"]
    hub._gather(frozenset({"events"}))
    assert made == []
    site.house.journal.note("sealer", "ok", "something happened")
    hub._gather(frozenset({"events"}))
    assert made == [1]


def test_who_is_slow_gets_the_newest_and_no_queue(hub, site):
    watcher = follow(hub, "bar:MNQ")
    watcher.outlet.is_full = True
    for price in (1.0, 2.0, 3.0):
        site.trade("MNQ", price)
        tick(hub)
    assert len(watcher.outlet.frames) == len(watcher.unacked) == 1
    watcher.outlet.is_full = False
    tick(hub)
    assert watcher.outlet.told["d"]["bar:MNQ"]["p"] == 3.0
    assert len(watcher.outlet.frames) == 2


def test_a_page_that_answers_late_gets_nothing_until_it_has_caught_up(hub, site):
    watcher = follow(hub, "bar:MNQ")
    for number in range(2 * UNACKED_MAX):
        site.trade("MNQ", float(number))
        tick(hub)
    assert len(watcher.outlet.frames) == UNACKED_MAX
    watcher.ack(watcher.outlet.told["n"] - 1)
    tick(hub)
    assert watcher.outlet.told["d"]["bar:MNQ"]["p"] == 2 * UNACKED_MAX - 1
    assert len(watcher.unacked) == 2


def test_the_page_answers_as_often_as_the_hub_thinks():
    script = (HERE / "stream.js").read_text()
    assert re.findall(r"ACK_EVERY = (\d+);", script) == [str(ACK_EVERY)]
    assert UNACKED_MAX == ACK_EVERY + OVERDUE_MAX


def test_who_is_paused_gets_nothing_and_then_the_newest(hub, site):
    watcher = follow(hub, "bar:MNQ")
    watcher.pause(True)
    site.trade("MNQ", 5.0)
    tick(hub)
    assert len(watcher.outlet.frames) == 1
    watcher.pause(False)
    hub.offer(watcher)
    assert watcher.outlet.told["d"]["bar:MNQ"]["p"] == 5.0


def test_prices_of_symbols_that_are_not_drawn_are_new_four_times_a_second(hub, site):
    site.trade("SPY", 600.0)
    site.look()
    watcher = follow(hub, "symbols", "bar:MNQ")
    seen = []
    for number in range(SLOW_TICKS - 1):
        site.trade("SPY", 601.0 + number)
        site.trade("MNQ", 1.0 + number)
        tick(hub)
        if "symbols" in watcher.outlet.told["d"]:
            seen.append(watcher.outlet.told["d"]["symbols"]["t"]["sym.SPY.last"])
        watcher.ack(hub._tick)
    assert seen == ["601.00", "603.00", "606.00", "608.00"]


def test_no_frame_holds_all_that_is_told_once_a_second(hub, site):
    watcher = follow(hub, "status", "symbols", "gex:MNQ", "bar:MNQ")
    for number in range(SLOW_TICKS):
        site.trade("MNQ", 1.0 + number)
        tick(hub)
        watcher.ack(hub._tick)
    told = [set(read(frame)["d"]) - {"bar:MNQ"} for frame in watcher.outlet.frames]
    assert all(len(topics) <= 1 for topics in told)
    assert set().union(*told) == {"status", "symbols", "gex:MNQ"}


@pytest.mark.parametrize("topic", ["bar:", "bar:../x", "nothing", "ladder:" + "A" * 40, "bar:mnq"])
def test_topics_are_of_known_form(topic):
    watcher = Watcher("", Outlet())
    watcher.want([topic])
    assert watcher.topics == ()


def test_a_watcher_follows_only_so_many_topics():
    watcher = Watcher("", Outlet())
    watcher.want([f"bar:S{i}" for i in range(TOPICS_MAX * 2)])
    assert len(watcher.topics) == TOPICS_MAX


def test_a_frame_of_the_first_screen_stays_small(hub, site):
    for symbol in ("MES", "MNQ", "NQ", "SPY", "QQQ", "VIX"):
        site.trade(symbol, 24_916.25, rows=50)
    for number in range(20):
        site.house.journal.note("sealer", "degraded", f"seal {number} failed: {'why ' * 10}")
    troubles = ("dxlink", "sealer", "redis", "gexbot")
    for name in troubles:
        site.boards["ingest"].state(name, "degraded", f"trying again: {'cause ' * 8}", limit_s=60)
    site.publish()
    topics = ("status", "symbols", "queries", "events", "coverage", "bar:MNQ", "ladder:MNQ")
    watcher = follow(hub, *topics)
    for _ in range(SLOW_TICKS):
        site.trade("MNQ", 24_916.5)
        tick(hub)
        watcher.ack(hub._tick)
    assert "events" in set().union(*(read(frame)["d"] for frame in watcher.outlet.frames))
    sizes = [len(frame) for frame in watcher.outlet.frames]
    assert max(sizes) < 4_096, sizes
