"""The mirror's bench runs whole; its figures are not judged here, for the machine may be busy."""

import json

import pytest

from tests.conftest import tickflight

pytestmark = pytest.mark.performance


def test_the_mirrors_lag_cost_and_burst_are_measured(tmp_path):
    out = tmp_path / "bench.json"
    told = tickflight(tmp_path, "bench", "redis", "--quick", "--json", str(out))
    figures = json.loads(out.read_bytes())["figures"]
    assert [figure["unit"] for figure in figures] == [
        "ms",
        *["% a core"] * 3,
        "ms",
        "us",
        "us",
        "s",
    ]
    assert all(figure["value"] > 0 for figure in figures)
    assert all(figure["name"] in told for figure in figures)
