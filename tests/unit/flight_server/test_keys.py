import json
import re
import threading

import pytest

from core.clock import NS_PER_S
from core.errors import SettingsError, Unauthenticated, Unavailable
from flight_server.keys import SCOPES, KeyRequest, KeyRing
from storage.disk import OsDisk


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def ring(path, manual_clock):
    return KeyRing(path, disk=OsDisk(), clock=manual_clock)


def test_a_new_key_has_an_id_and_256_random_bits_and_lets_its_agent_in(ring):
    key = ring.create(KeyRequest("bot", ("read", "sql"), ("MNQ",), 50.0))
    assert re.fullmatch(r"tf_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", key)
    agent = ring.agent(key)
    assert (agent.name, agent.rate) == ("bot", 50.0)
    assert agent.scopes == {"read", "sql"}
    assert agent.symbols == {"MNQ"}


def test_no_symbols_means_all_of_them(ring):
    assert ring.agent(ring.create(KeyRequest("bot"))).symbols is None


def test_the_key_itself_is_kept_nowhere_and_shown_nowhere(ring, path):
    key = ring.create(KeyRequest("bot"))
    agent = ring.agent(key)
    secret = key.rpartition("_")[2] if key.count("_") == 2 else key[12:]
    kept = path.read_text() + repr(ring) + repr(agent) + repr(ring.records())
    assert secret not in kept
    assert json.loads(path.read_text())["keys"][0]["sha256"] not in repr(ring.records())


def test_only_the_owner_may_read_the_file(ring, path):
    ring.create(KeyRequest("bot"))
    assert path.stat().st_mode & 0o077 == 0


def test_wrong_revoked_expired_malformed_and_missing_keys_are_told_apart(ring, manual_clock):
    good = ring.create(KeyRequest("good"))
    revoked = ring.create(KeyRequest("gone"))
    expired = ring.create(KeyRequest("old", expires_ns=manual_clock.now_ns() + NS_PER_S))
    ring.revoke("gone")
    manual_clock.advance_s(2)
    assert ring.agent(good).name == "good"
    wrong = good[:-1] + ("A" if good[-1] != "A" else "B")
    said = []
    for key in (wrong, revoked, expired, "nonsense", ""):
        with pytest.raises(Unauthenticated) as caught:
            ring.agent(key)
        assert caught.value.hint
        assert not key or key not in caught.value.message + caught.value.hint
        said.append(caught.value.message)
    assert len(set(said)) == 5
    for word, message in zip(("wrong", "revoked", "expired", "form", "no key"), said, strict=True):
        assert word in message


def test_a_key_of_an_unknown_id_and_one_with_a_wrong_secret_sound_the_same(ring):
    key = ring.create(KeyRequest("bot"))
    texts = (key[:3] + "zzzzzzzz" + key[11:], key[:12] + "A" * 43)
    messages = set()
    for text in texts:
        with pytest.raises(Unauthenticated) as caught:
            ring.agent(text)
        messages.add(caught.value.message)
    assert messages == {"the key is wrong"}


@pytest.mark.parametrize("text", ["tf_", "tf_é" * 20, "\ud800" * 55, "tf_" + "_" * 52, "x" * 9_999])
def test_odd_text_is_refused_like_any_other_key(ring, text):
    ring.create(KeyRequest("bot"))
    with pytest.raises(Unauthenticated):
        ring.agent(text)


def test_revoking_by_another_process_acts_on_the_next_call(ring, path, manual_clock):
    key = ring.create(KeyRequest("bot"))
    server = KeyRing(path, disk=OsDisk(), clock=manual_clock)
    assert server.agent(key).name == "bot"
    ring.revoke("bot")
    with pytest.raises(Unauthenticated, match="revoked"):
        server.agent(key)


def test_a_key_made_by_another_process_works_at_once(ring, path, manual_clock):
    server = KeyRing(path, disk=OsDisk(), clock=manual_clock)
    with pytest.raises(Unauthenticated):
        server.agent("tf_aaaaaaaa_" + "A" * 43)
    assert server.agent(ring.create(KeyRequest("bot"))).name == "bot"


def test_writers_at_the_same_time_lose_no_key(path, manual_clock):
    def create(number):
        KeyRing(path, disk=OsDisk(), clock=manual_clock).create(KeyRequest(f"bot{number}"))

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = KeyRing(path, disk=OsDisk(), clock=manual_clock).records()
    assert sorted(record.name for record in records) == [f"bot{n}" for n in range(8)]


def test_an_active_name_is_taken_and_a_revoked_one_is_free(ring):
    ring.create(KeyRequest("bot"))
    with pytest.raises(SettingsError, match="exists"):
        ring.create(KeyRequest("bot"))
    ring.revoke("bot")
    ring.create(KeyRequest("bot"))
    assert [r.revoked_ns is None for r in ring.records()] == [False, True]


def test_revoking_an_unknown_name_says_which_names_there_are(ring):
    ring.create(KeyRequest("bot"))
    with pytest.raises(SettingsError) as caught:
        ring.revoke("bob")
    assert "bot" in caught.value.hint


@pytest.mark.parametrize(
    ("ask", "word"),
    [
        (KeyRequest(""), "name"),
        (KeyRequest("a/b"), "name"),
        (KeyRequest("bot", ("fly",)), "fly"),
        (KeyRequest("bot", ()), "scopes"),
        (KeyRequest("bot", symbols=("M Q",)), "symbol"),
        (KeyRequest("bot", rate=0), "rate"),
        (KeyRequest("bot", rate=float("nan")), "rate"),
    ],
)
def test_a_bad_request_makes_no_key(ring, path, ask, word):
    with pytest.raises(SettingsError, match=word):
        ring.create(ask)
    assert not path.exists()


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"version": 2, "keys": []}', b"\xff"])
def test_a_damaged_file_lets_nobody_in_and_is_not_overwritten(ring, path, garbage, manual_clock):
    key = ring.create(KeyRequest("bot"))
    path.write_bytes(garbage)
    manual_clock.advance_s(1)
    for server in (ring, KeyRing(path, disk=OsDisk(), clock=manual_clock)):
        for _ in range(2):
            with pytest.raises(Unavailable):
                server.agent(key)
    with pytest.raises(SettingsError):
        ring.create(KeyRequest("other"))
    assert path.read_bytes() == garbage


def test_scopes_are_kept_in_one_order(ring):
    ring.create(KeyRequest("bot", ("admin", "read")))
    assert ring.records()[0].scopes == ("read", "admin")
    assert set(SCOPES) >= {"read", "sql", "live", "write", "ui", "admin"}
