"""What `tickflight doctor` finds in the settings alone."""

from core.settings import load_settings
from ingest.doctor import look
from tests.fakes.manual_clock import ManualClock


def findings(folder, **settings):
    told = {"DATA_DIR": str(folder), "SIERRA_DIR": str(folder / "none"), **settings}
    return {each.about: each for each in look(load_settings(told, environ={}), ManualClock())}


def test_a_setting_that_no_part_uses_is_no_silent_matter(tmp_path):
    assert "cluster" not in findings(tmp_path)
    found = findings(tmp_path, CLUSTER_URL="sc://cluster:15002")["cluster"]
    assert found.state == "wrong"
    assert "no part uses it" in found.told


def test_feeds_without_credentials_are_off_and_say_what_turns_them_on(tmp_path):
    found = findings(tmp_path)
    assert found["tastytrade"].state == "off"
    assert "TASTYTRADE_REFRESH_TOKEN" in found["tastytrade"].told
    assert found["GEXBot"].state == "off"
    assert "GEXBOT_API_KEY" in found["GEXBot"].told
    both = findings(tmp_path, TASTYTRADE_CLIENT_SECRET="x", TASTYTRADE_REFRESH_TOKEN="y")
    assert both["tastytrade"].state == "fine"
