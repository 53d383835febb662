from pathlib import Path

import pytest

from core.board import Board
from core.settings import load_settings
from storage.paths import Paths
from tests.fakes.manual_clock import ManualClock
from webui.commands import status_command


@pytest.fixture
def house(tmp_path):
    """A clock, a board that publishes into a data folder, and `tickflight status` on it."""
    settings = load_settings({"DATA_DIR": str(tmp_path)}, environ={}, env_file=Path("/no/.env"))
    paths = Paths(tmp_path)
    paths.run.mkdir()
    clock = ManualClock()
    board = Board("ingest", clock)

    def status():
        lines = []
        return status_command(settings, clock, lines.append), "\n".join(lines)

    return clock, board, lambda: board.publish(paths.status("ingest")), status


def test_status_of_an_empty_folder_says_how_to_start(house):
    _, _, _, status = house
    code, text = status()
    assert code == 1
    assert "tickflight up" in text


def test_status_shows_every_part_and_ends_well_when_none_is_down(house):
    _, board, publish, status = house
    board.state("sealer", "degraded", "seal failed, trying again")
    publish()
    code, text = status()
    assert code == 0
    assert "ingest   degraded" in text
    assert "seal failed, trying again" in text


def test_status_fails_when_a_process_is_silent(house):
    clock, board, publish, status = house
    board.state("sealer", "ok")
    publish()
    clock.advance_s(6)
    code, text = status()
    assert code == 1
    assert "process silent for 6 s" in text
