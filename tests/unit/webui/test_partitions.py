"""Sealed files on the data page: what is known of each, and verifying one."""

import pytest

from storage.hot import HotReader
from storage.proofs import Proof, Proofs
from storage.seal import Sealer
from tests.unit.webui.site import FROM_US


@pytest.fixture
def sealed(site):
    """A house with one sealed file of trades."""
    site.trade("MNQ", 24_917.0, rows=100, age_s=60)
    slices = HotReader(site.paths).slices("trades", "MNQ")
    lake = Sealer(site.settings.lake_url, site.clock)
    (site.part, *_) = lake.seal("trades", "MNQ", [s.batch for s in slices], slices[-1].last_seq)
    site.look()
    return site


def file_of(site):
    return site.part.path.rpartition("/trades/")[2]


def verify(site, **body):
    told = {"table": "trades", "file": file_of(site), **body}
    return site.ask("/ui/partition/verify", method="POST", json=told, headers=FROM_US)


def facts(answer):
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["facts"])


def test_a_file_that_was_not_read_again_says_so(sealed):
    page = sealed.ask("/data").text
    assert "at its seal only" in page
    told = facts(sealed.ask(f"/ui/partition?table=trades&file={file_of(sealed)}"))
    assert told["Verified"] == told["Sealed and read back"] == sealed.clock.now_ns() // 1_000_000
    assert told["Rows"] == "100 in 1 row groups"
    assert len(told["Checksum, crc32c"]) == 8


def test_verifying_a_file_is_kept_and_told(sealed):
    sealed.clock.advance_s(60)
    told = facts(verify(sealed))
    assert told["How far"] == "whole file"
    assert told["Outcome"] == "as it was sealed"
    assert told["Verified"] == told["Sealed and read back"] + 60_000
    assert "whole file" in sealed.ask("/data").text
    assert "demo visitor verified trades MNQ" in sealed.ask("/events").text


def test_a_byte_that_changed_is_found_and_said_without_a_folder_of_ours(sealed):
    with open(sealed.part.path, "r+b") as file:
        file.seek(40)
        byte = file.read(1)
        file.seek(40)
        file.write(bytes([byte[0] ^ 1]))
    sealed.clock.advance_s(1)
    answer = verify(sealed)
    assert not answer.json()["is_good"]
    assert "checksum" in facts(answer)["Outcome"]
    assert str(sealed.paths.root) not in answer.text
    assert "not as sealed" in sealed.ask("/data").text


def test_what_tickflight_verify_found_is_shown(sealed):
    at_ns = sealed.clock.now_ns() + 5_000_000_000
    Proofs(sealed.paths.proofs).note([Proof(sealed.part.path, at_ns)])
    told = facts(sealed.ask(f"/ui/partition?table=trades&file={file_of(sealed)}"))
    assert (told["Verified"], told["How far"]) == (at_ns // 1_000_000, "whole file")


def test_a_spot_check_of_one_row_group_counts_as_that(sealed):
    now_us = sealed.clock.now_ns() // 1_000 + 9_000_000
    row = {"symbol": "MNQ", "ts_event": now_us, "ts_recv": now_us, "source": "spot",
           "table_name": "trades", "witness": "digest", "from_ts": sealed.part.min_ts_us,
           "to_ts": sealed.part.max_ts_us, "outcome": "match", "rows": 100, "matched": 100,
           "detail": "row group 0"}  # fmt: skip
    sealed.store.append_rows("spot_checks", [row])
    sealed.look()
    assert "one row group" in sealed.ask("/data").text


@pytest.mark.parametrize(
    "body", [{"file": "../../../etc/passwd"}, {"file": ""}, {"table": "nothing"}, {"file": 7}]
)
def test_what_the_log_does_not_name_does_not_exist(sealed, body):
    assert verify(sealed, **body).status_code == 400


def test_only_an_administrators_own_page_verifies(sealed):
    body = {"table": "trades", "file": file_of(sealed)}
    bearer = {"authorization": f"Bearer {sealed.key('eye', 'ui')}"}
    for headers in (bearer, {"origin": "http://127.0.0.1:1"}):
        answer = sealed.ask("/ui/partition/verify", method="POST", json=body, headers=headers)
        assert answer.status_code == 403
