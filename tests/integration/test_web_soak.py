"""Tabs left open hold what they held; `make soak` does the same for ten minutes."""

import pytest

from tests.integration.browsing import chromium
from tests.soak import PATHS, Sample, Watch, faults, soak

# Of a few seconds: a new second of the chart is a larger share of a heap this small, and how fast
# frames come says more of a busy machine than of the page.
GROWTH_MAX = {"heap": 0.25, "nodes": 0.10, "listeners": 0.0}


def test_an_open_tab_makes_no_rubbish(demo_server):
    with chromium() as browser:
        watches = [Watch(browser.new_page(base_url=demo_server.web_url), path) for path in PATHS]
        soak(watches, 9, every_s=1.5, warm_s=4)
        for one in watches:
            assert one.frames > 0, one.path
            assert faults(one.samples, GROWTH_MAX, frames_share_min=0.0) == [], one.path


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("heap", [1e6, 1e6, 1.2e6], "heap"),
        ("nodes", [500, 700, 900], "nodes"),
        ("listeners", [40, 40, 41], "listeners"),
        ("frames_per_s", [10, 8, 2], "frames"),
    ],
)
def test_what_grows_or_falls_behind_is_found(name, values, word):
    flat = {"heap": 1e6, "nodes": 500, "listeners": 40, "frames_per_s": 10, "busy": 0.1}
    samples = [Sample(at_s=i, **{**flat, name: value}) for i, value in enumerate(values)]
    (found,) = faults(samples)
    assert found.startswith(word)
    assert faults([Sample(at_s=i, **flat) for i in range(9)]) == []
