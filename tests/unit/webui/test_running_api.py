import json

import pytest

from tests.unit.webui.site import FROM_US

CALL = {
    "id": "7-1700000000000000000",
    "key": "notebook",
    "method": "do_get",
    "ticket": "range:MNQ",
    "started_ns": 1_700_000_000_000_000_000,
    "rows": 12_345,
}
PATH = "/ui/queries/cancel"


@pytest.fixture
def running(site):
    """A call that the Flight process says is running."""
    site.paths.calls.mkdir(parents=True)
    (site.paths.calls / "running.json").write_text(json.dumps([CALL]))
    site.look()
    return site


def requests(site):
    return [path.name for path in site.paths.calls.glob("end-*")]


def test_the_page_tells_what_runs_and_lets_an_admin_end_it(running):
    page = running.ask("/queries").text
    assert "range:MNQ" in page
    assert f'data-key="{CALL["id"]}"' in page
    assert ">Cancel</button>" in page
    answer = running.ask(PATH, method="POST", headers=FROM_US, json={"call": CALL["id"]})
    assert answer.status_code == 202
    assert requests(running) == [f"end-{CALL['id']}"]
    told = running.ask("/events").text
    assert "demo visitor cancelled a call of notebook" in told


@pytest.mark.parametrize("call", ["8-1", "../end-x", "", None, 7, ["7"]])
def test_only_what_runs_can_be_ended(running, call):
    answer = running.ask(PATH, method="POST", headers=FROM_US, json={"call": call})
    assert answer.status_code == 400
    assert requests(running) == []


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://127.0.0.1:1"}, {**FROM_US, "sec-fetch-site": "same-site"}]
)
def test_no_page_of_others_ends_a_call(running, headers):
    answer = running.ask(PATH, method="POST", headers=headers, json={"call": CALL["id"]})
    assert answer.status_code == 403
    assert requests(running) == []


def test_who_may_only_look_sees_no_button_and_is_refused(running):
    key = running.key("viewer", "ui")
    mine = {"authorization": f"Bearer {key}"}
    page = running.ask("/queries", headers=mine).text
    assert "range:MNQ" in page
    assert ">Cancel</button>" not in page
    answer = running.ask(PATH, method="POST", headers=mine, json={"call": CALL["id"]})
    assert answer.status_code == 403
    assert requests(running) == []
