"""Which processes each part of the house has."""

import pytest

from core.errors import SettingsError
from core.roles import Part, processes_of


@pytest.mark.parametrize(
    ("part", "has_redis", "expected"),
    [
        (Part("all"), False, ["ingest", "flight", "web"]),
        (Part("all", is_demo=True), True, ["ingest", "mirror", "flight", "web"]),
        (Part("ingest"), True, ["ingest", "mirror"]),
        (Part("serve"), True, ["flight", "web"]),
        (Part("serve", is_following=True), True, ["follow", "flight", "web"]),
    ],
)
def test_each_role_has_its_processes_the_writer_first(part, has_redis, expected):
    assert processes_of(part, has_redis=has_redis) == expected


@pytest.mark.parametrize(
    "part",
    [
        Part("all", is_following=True),
        Part("ingest", is_following=True),
        Part("serve", is_following=True, is_demo=True),
        Part("serve", is_demo=True),
    ],
)
def test_what_cannot_go_together_is_refused_with_what_to_do(part):
    with pytest.raises(SettingsError) as refused:
        processes_of(part, has_redis=True)
    assert refused.value.hint
