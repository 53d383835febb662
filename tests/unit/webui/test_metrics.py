import re

import pytest

SAMPLE = re.compile(
    r'tickflight_[a-z0-9_]+(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? \S+'
)


@pytest.fixture
def text(site):
    site.trade("MNQ", 24_916.25, age_s=3)
    site.boards["ingest"].state("sealer", "degraded", 'a "quoted"\nreason')
    site.boards["ingest"].state('odd "part"\\', "ok")
    site.boards["ingest"].count("rejects", 4)
    site.publish()
    site.look()
    return site.ask("/metrics").text


def test_every_line_is_of_the_format(text):
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or SAMPLE.fullmatch(line), line
    assert text.endswith("\n")


def test_every_family_says_its_kind_once_and_before_its_samples(text):
    seen = []
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in seen
            seen.append(name)
        elif not line.startswith("#"):
            assert re.match(r"[a-z0-9_]+", line)[0] == seen[-1]


def test_the_figures_are_those_of_the_picture(text):
    assert 'tickflight_rows_visible_total{table="trades"} 1\n' in text
    assert 'tickflight_symbol_age_seconds{symbol="MNQ"} 3\n' in text
    assert 'tickflight_part_state{process="ingest",part="sealer",state="degraded"} 1\n' in text
    assert 'tickflight_events_total{process="ingest",name="rejects"} 4\n' in text
    assert 'part="odd \\"part\\"\\\\"' in text


def test_figures_are_for_known_callers_alone(locked):
    assert locked.ask("/metrics").status_code == 401
    bearer = {"authorization": f"Bearer {locked.key('prometheus', 'read')}"}
    assert locked.ask("/metrics", headers=bearer).status_code == 200
