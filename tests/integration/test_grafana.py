"""The example dashboard for Grafana: its form, and its queries against a running program.

Form: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
(the classic model, which every Grafana since 8 imports).
"""

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.fakes.deadline import until

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs/grafana-dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
FIELDS = {"id", "uid", "title", "tags", "timezone", "editable", "graphTooltip", "panels", "time"}
FIELDS |= {
    "timepicker",
    "templating",
    "annotations",
    "refresh",
    "schemaVersion",
    "version",
    "links",
}
UNITS = {"none", "short", "s", "bytes", "percentunit", "rowsps"}  # of Grafana's own list
COLUMNS = 24
METRIC = re.compile(r"tickflight_[a-z_]*[a-z]")
SELECTOR = re.compile(r"(tickflight_[a-z_]+)?\{([^}]*)\}")
LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
GROUPED = re.compile(r"by \(([^)]*)\)")
WORDS = re.compile(r"\{\{\s*(\w+)\s*\}\}")
NOT_YET = {"tickflight_spot_check_ratio"}  # the first check is half a minute away


def test_it_has_the_fields_grafana_names():
    assert set(DASHBOARD) == FIELDS
    assert DASHBOARD["id"] is None  # else it would replace another's
    assert 8 <= len(DASHBOARD["uid"]) <= 40
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_each_panel_has_a_place_a_source_and_a_unit_that_grafana_knows(panel):
    assert panel["type"] in {"timeseries", "stat", "table"}
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["fieldConfig"]["overrides"] == []
    assert all(target["refId"] and target["legendFormat"] for target in panel["targets"])
    if panel["type"] == "table":
        assert all(t["format"] == "table" and t["instant"] for t in panel["targets"])


def test_no_panel_covers_another():
    taken = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert max(x for x, _ in cells) < COLUMNS
        assert not taken & cells, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def metrics(server):
    answer = httpx.get(
        f"{server.web_url}/metrics", headers={"authorization": f"Bearer {server.key}"}
    )
    assert answer.status_code == 200
    return answer.text


def labels_of(text, name):
    """The label sets of a metric's samples."""
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? \S+$", text, re.MULTILINE)
    return [set(re.findall(r"([a-z_]+)=\"", one)) for one in found]


def test_every_query_asks_for_figures_and_labels_that_a_running_program_has(demo_server):
    httpx.get(f"{demo_server.web_url}/api/samples")
    call = f"{demo_server.web_url}/mcp"  # one call of a key, so that there are figures of calls
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"authorization": f"Bearer {demo_server.key}"}
    assert httpx.post(call, json=body, headers=headers).status_code == 200
    until(lambda: labels_of(metrics(demo_server), "tickflight_call_duration_seconds"))
    text = metrics(demo_server)
    known = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    for target in TARGETS:
        told = target["expr"]
        if pattern := re.search(r'__name__=~"([^"]+)"', told):
            names = {name for name in known if re.fullmatch(pattern[1], name)}
        else:
            names = set(METRIC.findall(told))
        assert names, told
        assert names <= known, told
        wanted = {label for _, inner in SELECTOR.findall(told) for label in LABEL.findall(inner)}
        wanted |= {word.strip() for group in GROUPED.findall(told) for word in group.split(",")}
        wanted |= set(WORDS.findall(target["legendFormat"]))
        for name in names - NOT_YET:
            found = labels_of(text, name)
            assert found, f"{name} has no samples"
            assert wanted - {"__name__"} <= set.union(*found), (name, wanted)
