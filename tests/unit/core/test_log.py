import logging
import re
import sys

import pytest

from core.log import SECRET_WORDS, Log, format_facts, start_logging


@pytest.fixture
def logged(capsys):
    """Send the log to stderr, hand out what was written, leave no handler behind."""
    root = logging.getLogger("tickflight")
    before = root.handlers[:], root.level, root.propagate
    yield lambda: capsys.readouterr().err
    root.handlers[:], root.level, root.propagate = before


def test_a_line_is_an_event_and_its_facts():
    line = format_facts("partition.sealed", {"table": "trades", "rows": 3})
    assert line == "partition.sealed table=trades rows=3"


def test_values_with_blanks_are_quoted_and_stay_on_one_line():
    assert format_facts("feed.lost", {"why": "no news"}) == 'feed.lost why="no news"'
    assert "\n" not in format_facts("feed.lost", {"why": "one\ntwo"})


@pytest.mark.parametrize("word", SECRET_WORDS)
def test_facts_named_as_secrets_are_never_written(word):
    assert format_facts("key.used", {f"the_{word}": "hunter2"}) == f"key.used the_{word}=***"


def test_lines_carry_utc_time_level_and_process(logged):
    start_logging("ingest")
    Log("lake").info("partition.sealed", rows=3)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    ingest: partition.sealed rows=3\n",
        logged(),
    )


def test_debug_lines_are_written_only_when_asked_for(logged):
    start_logging("ingest")
    Log("lake").debug("batch.appended", rows=3)
    assert logged() == ""
    start_logging("ingest", verbose=True)
    Log("lake").debug("batch.appended", rows=3)
    assert "batch.appended rows=3" in logged()


def test_starting_twice_writes_each_line_once(logged):
    start_logging("ingest")
    start_logging("ingest")
    Log("lake").warning("seal.failed", retry_s=3)
    assert logged().count("seal.failed") == 1


def test_an_exception_brings_its_traceback(logged):
    start_logging("ingest")
    try:
        raise ValueError("odd price")
    except ValueError:
        Log("guard").exception("rule.failed")
    written = logged()
    assert "ERROR" in written
    assert "ValueError: odd price" in written


def test_nothing_goes_to_stdout(capsys, logged):
    start_logging("ingest")
    Log("lake").error("disk.filled")
    sys.stdout.flush()
    assert capsys.readouterr().out == ""
