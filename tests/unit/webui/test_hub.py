import pytest

from webui.hub import SLOW_TICKS, TOPICS_MAX, UNACKED_MAX, Watcher


@pytest.fixture
def hub(site):
    site.trade("MNQ", 24_916.25)
    site.look()
    return site.house.hub


def tick(hub, *topics):
    """One round of the hub for a watcher of these topics."""
    watcher = Watcher("")
    watcher.want(topics)
    hub.watchers.add(watcher)
    hub._gather(frozenset(topics))
    hub._frames = {}
    return watcher


def test_the_first_frame_is_whole_and_a_still_picture_sends_nothing_more(hub):
    watcher = tick(hub, "status", "bar:MNQ")
    number, text = hub.frame(watcher)
    assert '"bar:MNQ"' in text
    assert '"status"' in text
    assert watcher.unacked == [number]
    assert hub.frame(watcher) is None


def test_a_frame_is_written_once_for_all_who_want_the_same(hub):
    one, other = tick(hub, "status"), tick(hub, "status")
    assert hub.frame(one)[1] is hub.frame(other)[1]


def test_a_topic_is_made_again_only_where_what_it_is_made_of_moved(hub, site):
    watcher = tick(hub, "events")
    assert hub.frame(watcher) is not None
    made = []
    hub._makers = {"events": lambda: made.append(1)}
    hub._tick = SLOW_TICKS
    hub._gather(frozenset({"events"}))
    assert made == []
    site.house.journal.note("sealer", "ok", "something happened")
    hub._gather(frozenset({"events"}))
    assert made == [1]


def test_who_is_slow_gets_the_newest_and_no_queue(hub, site):
    watcher = tick(hub, "bar:MNQ")
    for price in (1.0, 2.0, 3.0):
        site.trade("MNQ", price)
        hub._tick += 1
        hub._gather(frozenset({"bar:MNQ"}))
        hub._frames = {}
    text = hub.frame(watcher)[1]
    assert '"p":3.0' in text
    assert hub.frame(watcher) is None


def test_frames_that_nobody_looks_at_are_not_sent(hub):
    watcher = tick(hub, "status")
    watcher.unacked = list(range(UNACKED_MAX))
    assert not watcher.may_send
    watcher.ack(UNACKED_MAX)
    assert watcher.may_send
    watcher.is_paused = True
    assert not watcher.may_send


@pytest.mark.parametrize("topic", ["bar:", "bar:../x", "nothing", "ladder:" + "A" * 40, "bar:mnq"])
def test_topics_are_of_known_form(topic):
    watcher = Watcher("")
    watcher.want([topic])
    assert watcher.sent == {}


def test_a_watcher_follows_only_so_many_topics():
    watcher = Watcher("")
    watcher.want([f"bar:S{i}" for i in range(TOPICS_MAX * 2)])
    assert len(watcher.sent) == TOPICS_MAX


def test_a_frame_of_the_first_screen_stays_small(hub, site):
    for symbol in ("MES", "MNQ", "NQ", "SPY", "QQQ", "VIX"):
        site.trade(symbol, 24_916.25, rows=50)
    site.look()
    watcher = tick(hub, "symbols")
    assert len(hub.frame(watcher)[1]) < 4_096
