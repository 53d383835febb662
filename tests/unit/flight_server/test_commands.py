"""What `tickflight key create` takes as rates and dates."""

import pytest

from core.clock import DAY_NS
from core.errors import SettingsError
from flight_server.commands import parse_expiry

NOW_NS = 20_000 * DAY_NS + 1  # 2024-10-04, just after midnight


def test_an_expiry_is_a_span_from_now_or_the_beginning_of_a_day():
    assert parse_expiry("90d", NOW_NS) == NOW_NS + 90 * DAY_NS
    assert parse_expiry("2024-10-05", NOW_NS) == 20_001 * DAY_NS
    assert parse_expiry("", NOW_NS) is None


@pytest.mark.parametrize("text", ["2020-01-01", "2024-10-04", "0d", "yesterday", "1s"])
def test_a_key_that_would_never_work_is_refused(text):
    with pytest.raises(SettingsError, match="expected"):
        parse_expiry(text, NOW_NS)
