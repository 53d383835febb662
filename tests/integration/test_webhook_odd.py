"""What nobody means to post, in front of a real writer: nothing of it is lost or taken for ours."""

import json

import anyio
import orjson
import pytest

from core.board import Board
from tests.fakes import gexbot_made as made
from tests.integration.test_webhooks import HOST, NAMES, Site, application, running_site
from webui.webhooks import open_webhooks


@pytest.fixture
def site(tmp_path):
    with running_site(tmp_path) as site:
        yield site


@pytest.mark.parametrize("make", [lambda deep: deep, lambda deep: made.chain() | {"more": deep}])
def test_what_nests_too_deeply_to_be_read_is_kept_as_it_came(site, make):
    deep: object = 1
    for _ in range(900):
        deep = {"a": deep}
    raw = json.dumps(make(deep)).encode()
    answer = site.post(raw)
    assert (answer.status_code, answer.json()["status"]) == (202, "stored_raw")
    (kept,) = site.rows("rejects", "*")
    assert kept["raw"] == raw


def test_a_batch_of_unknown_shapes_is_kept_whole_up_to_the_longest_that_is_taken(site):
    batch = [{"odd": f"{number}" * 200_000} for number in range(9)]
    answer = site.post(batch)
    assert (answer.status_code, answer.json()["stored_raw"]) == (202, 9)
    parts = sorted(site.rows("rejects", "*"), key=lambda row: row["seq"])
    raw = b"".join(row["raw"] for row in parts)
    assert raw == b"".join(orjson.dumps(one) for one in batch)


def test_a_sender_who_goes_away_within_his_post_is_no_failure_of_ours(tmp_path, caplog):
    site = Site(tmp_path)
    app = application(open_webhooks(site.settings, NAMES, Board("web", site.clock), site.clock))
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/uw",
        "query_string": b"",
        "headers": [(b"host", HOST.encode())],
        "client": ("127.0.0.1", 5),
    }
    said = [
        {"type": "http.request", "body": b'{"a":', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive():
        return said.pop(0)

    async def send(message):
        sent.append(message)

    anyio.run(app, scope, receive, send)
    assert sent[0]["status"] == 400
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
