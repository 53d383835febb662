"""The query worker as a process: limits, fences, cancelling, and its death."""

import os
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from core.errors import BadSql, Forbidden, PipelineError, TooMuch, TooSlow, Unavailable
from storage.query import QueryLimits, QueryService, Question
from storage.query_wire import SLOTS
from tests.fakes.deadline import until
from tests.fakes.query_tape import START_US, QueryTape

ENDLESS = "SELECT count(*) FROM range(100000000000) a, range(1000) b"
LIMITS = QueryLimits(seconds=20, rows=2_000_000, bytes=200_000_000, memory_bytes=1 << 30)
ROWS = 50_000
BACK_S_MAX = 60  # a worker that was killed, on a busy machine


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    made = QueryTape(tmp_path_factory.mktemp("tape"))
    made.add("MNQ", ROWS)
    made.add("NQ", ROWS)
    made.seal("MNQ")
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(tape):
    started = QueryService(tape.paths, tape.lake_url, LIMITS, lanes=2)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def hasty(tape):
    """A service of a test's own that gives up after half a second."""
    limits = QueryLimits(seconds=0.5, rows=10**9, bytes=10**10, memory_bytes=1 << 30)
    started = QueryService(tape.paths, tape.lake_url, limits, lanes=2)
    started.start()
    yield started
    started.stop()


def ask(service, sql, *params, **about):
    return service.run(Question(sql, params, **about)).read_all()


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_hot_and_cold_are_answered_as_one_table(service):
    found = ask(service, "SELECT symbol, count(*) AS n FROM ticks GROUP BY ALL ORDER BY ALL")
    assert found.to_pylist() == [{"symbol": "MNQ", "n": ROWS}, {"symbol": "NQ", "n": ROWS}]


def test_a_large_answer_streams_every_row_once(service):
    found = ask(service, "SELECT seq FROM trades, range(10)")
    assert found.num_rows == 20 * ROWS
    assert len(found["seq"].unique()) == 2 * ROWS


def test_rows_are_there_as_soon_as_they_are_appended(service, tape):
    before = ask(service, "SELECT max(seq) AS s FROM trades")["s"][0].as_py()
    tape.add("ES", 1)
    assert ask(service, "SELECT max(seq) AS s FROM trades")["s"][0].as_py() == before + 1


def test_answers_carry_the_watermarks_of_their_tables(service):
    metadata = service.run(Question("SELECT 1 FROM trades LIMIT 1")).schema.metadata
    assert int(metadata[b"visible_seq"]) >= int(metadata[b"durable_seq"]) > 0


def test_parameters_are_bound_in_order(service):
    sql = "SELECT $2 AS a, count(*) AS n FROM trades WHERE symbol = $1 AND ts_event >= $3"
    start = datetime.fromtimestamp(START_US / 1_000_000, UTC)
    assert ask(service, sql, "NQ", "it's", start).to_pylist() == [{"a": "it's", "n": ROWS}]


def test_columns_are_told_without_running(service):
    endless = service.describe(
        Question("SELECT price, 1 AS a, 2 AS a, $1 AS b FROM trades", ("x",))
    )
    assert endless.names == ["price", "a", "a", "b"]
    assert endless.field("price").type == pa.float64()


def test_a_key_sees_its_symbols_only(service):
    found = ask(service, "SELECT DISTINCT symbol FROM trades", symbols=frozenset({"NQ"}))
    assert found["symbol"].to_pylist() == ["NQ"]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELEC 1", BadSql),
        ("SELECT nothing FROM trades", BadSql),
        ("FROM nothing", BadSql),
        ("SELECT 'x'::INTEGER", BadSql),
        ("SELECT error('/etc/passwd/x is secret') FROM trades", BadSql),
        ("FROM read_text('/etc/passwd')", Forbidden),
        ("WITH a AS (INSERT INTO trades VALUES (1) RETURNING *) FROM a", Forbidden),
    ],
)
def test_a_refusal_says_why_and_tells_no_paths(service, sql, error):
    with pytest.raises(error) as caught:
        ask(service, sql)
    text = caught.value.message + caught.value.hint
    assert caught.value.hint
    assert "/etc/passwd" not in text
    assert "tape_" not in text
    assert "Traceback" not in text


def test_a_local_variable_is_never_visible_to_sql(service):
    trades_here = pa.table({"a": [1]})
    with pytest.raises(BadSql, match="no table"):
        ask(service, "FROM trades_here")
    assert trades_here.num_rows == 1


def test_rows_and_bytes_are_limited(service):
    with pytest.raises(TooMuch, match="larger than"):
        ask(service, "FROM range(10000000)")
    with pytest.raises(TooMuch, match="larger than"):
        ask(service, "SELECT lpad('x', 600, 'y') FROM range(1000000)")


def peak_kb(pid: int | None) -> int | None:
    """The most memory a process ever had, None where it is dead or dying."""
    if pid is None:
        return None
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return None
    found = status.partition("VmHWM:")[2].split()
    return int(found[0]) if found else None


@pytest.mark.parametrize(
    "bomb",
    [
        "SELECT list(range) FROM range(400000000)",
        "SELECT len(range(3000000000))",
        "SELECT sum(len(list_transform(range(900000000), lambda x: x + 1)))",
        "SELECT length(lpad('x', 900000000, 'y') || lpad('x', 900000000, 'y'))",
        "SELECT string_agg(lpad('x', 1000000, 'y'), '') FROM range(100000)",
        "SELECT range FROM range(1000000000) ORDER BY random()",
    ],
)
def test_a_memory_bomb_ends_in_an_error_and_the_service_lives(service, bomb):
    with pytest.raises(PipelineError) as caught:
        ask(service, bomb)
    assert caught.value.code in ("too_much", "too_slow", "unavailable", "bad_sql")
    assert until(lambda: answered(service), BACK_S_MAX) == [{"a": 1}]
    assert until(lambda: peak_kb(service.worker_pid), BACK_S_MAX) < 3 << 20


def answered(service):
    """What a statement gives; nothing while the worker is still being started again."""
    try:
        return ask(service, "SELECT 1 AS a").to_pylist()
    except Unavailable:
        return None


@pytest.mark.parametrize(
    "sql",
    [
        ENDLESS,
        "WITH RECURSIVE r AS (SELECT 1 i UNION ALL SELECT i + 1 FROM r) SELECT max(i) FROM r",
        "SELECT count(*) FROM trades a, trades b WHERE a.price <> b.price + random()",
    ],
)
def test_a_runaway_statement_is_stopped_in_time(hasty, sql):
    began = time.monotonic()
    with pytest.raises(TooSlow, match="stopped after"):
        ask(hasty, sql)
    assert time.monotonic() - began < 10
    assert ask(hasty, "SELECT 1 AS a").num_rows == 1


def test_a_slow_reader_is_not_a_slow_statement(hasty):
    reader = hasty.run(Question("SELECT range, 1.5 AS x FROM range(2000000)"))
    rows = reader.read_next_batch().num_rows
    threading.Event().wait(1.0)
    rows += sum(batch.num_rows for batch in reader)
    assert rows == 2_000_000


def test_dropping_the_reader_stops_the_work_and_frees_the_lane(service):
    pid = service.worker_pid
    for _ in range(6):  # more than there are lanes
        reader = service.run(Question("SELECT a.range FROM range(1000000) a, range(1000000) b"))
        reader.read_next_batch()
        del reader
    assert ask(service, "SELECT 1 AS a").num_rows == 1

    def is_idle():
        before = cpu_seconds(pid)
        threading.Event().wait(0.2)
        return cpu_seconds(pid) - before < 0.1

    until(is_idle)
    assert service.worker_pid == pid


def test_a_cancelled_call_stops_a_statement_without_rows(service):
    gone = threading.Event()
    threading.Timer(0.2, gone.set).start()
    with pytest.raises(Unavailable, match="cancelled"):
        service.run(Question(ENDLESS), is_cancelled=gone.is_set)
    assert ask(service, "SELECT 1 AS a").num_rows == 1


def test_a_statement_cancelled_when_its_time_is_up_frees_its_lane(hasty):
    for _ in range(4):  # more than there are lanes
        gone = threading.Event()
        threading.Timer(0.5, gone.set).start()
        with pytest.raises((Unavailable, TooSlow)):
            hasty.run(Question(ENDLESS), is_cancelled=gone.is_set)
    assert ask(hasty, "SELECT 1 AS a").num_rows == 1


def test_kept_batches_stay_as_they_were(service):
    reader = service.run(Question("SELECT range AS n FROM range(1000000)"))
    kept = list(reader)
    assert len(kept) > SLOTS
    ask(service, "SELECT -1 AS n FROM range(1000000)")
    assert pa.Table.from_batches(kept)["n"].to_pylist() == list(range(1_000_000))


def test_a_killed_worker_is_told_and_replaced(hasty):
    reader = hasty.run(Question("SELECT a.range FROM range(1000000) a, range(1000) b"))
    reader.read_next_batch()
    pid = hasty.worker_pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="restarted") as caught:
        for _ in reader:
            pass
    assert caught.value.retry
    assert ask(hasty, "SELECT 1 AS a").num_rows == 1
    assert hasty.worker_pid != pid
    assert hasty.restarts == 1


def test_a_statement_that_had_no_rows_yet_is_asked_again(tape):
    patient = QueryService(tape.paths, tape.lake_url, LIMITS, lanes=1)
    patient.start()
    found = []
    slow = "SELECT count(*) AS n FROM range(600000000) a WHERE hash(a.range) % 7 < 9"
    asking = threading.Thread(target=lambda: found.append(ask(patient, slow)["n"][0].as_py()))
    pid = patient.worker_pid
    before = cpu_seconds(pid)
    asking.start()
    until(lambda: cpu_seconds(pid) > before + 0.1)
    os.kill(pid, signal.SIGKILL)
    asking.join()
    patient.stop()
    assert found == [600_000_000]
    assert patient.restarts == 1


def test_too_many_statements_are_told_to_come_back(service):
    readers = [
        service.run(Question("SELECT a.range FROM range(1000000) a, range(1000) b"))
        for _ in range(2)
    ]
    gone = threading.Event()
    threading.Timer(0.3, gone.set).start()
    with pytest.raises(Unavailable):
        service.run(Question("SELECT 1"), is_cancelled=gone.is_set)
    readers.clear()
    assert ask(service, "SELECT 1 AS a").num_rows == 1


def test_many_threads_get_right_answers(service):
    wrong = []

    def work(number):
        for _ in range(10):
            found = ask(service, "SELECT count(*) + $1 AS n FROM ticks WHERE symbol = 'NQ'", number)
            if found["n"][0].as_py() != ROWS + number:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_worker_is_fenced_in(service):
    """What SQL cannot do for a client, the process cannot do either."""
    pid = service.worker_pid
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert "Max file size             0" in limits
    assert "Max core file size        0" in limits
    data_bytes = int(limits.split("Max data size")[1].split()[0])
    assert LIMITS.memory_bytes < data_bytes < LIMITS.memory_bytes + (2 << 30)
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    names = {pair.split(b"=")[0].decode() for pair in environ.split(b"\0") if pair}
    assert names <= {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", *MALLOC}


MALLOC = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def test_a_stopped_service_answers_unavailable(tape):
    stopped = QueryService(tape.paths, tape.lake_url, LIMITS, lanes=1)
    stopped.start()
    pid = stopped.worker_pid
    stopped.stop()
    with pytest.raises(Unavailable):
        stopped.run(Question("SELECT 1"))
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_sealing_under_load_never_shows_a_row_twice_or_not_at_all(tmp_path):
    busy = QueryTape(tmp_path)
    busy.add("MNQ", 20_000)
    started = QueryService(busy.paths, busy.lake_url, LIMITS, lanes=2)
    started.start()
    wrong, done = [], threading.Event()

    def look():
        sql = "SELECT count(*) AS n, count(DISTINCT seq) AS d, max(seq) AS m FROM trades"
        while not done.is_set():
            (found,) = ask(started, sql).to_pylist()
            if not found["n"] == found["d"] == found["m"]:
                wrong.append(found)

    looker = threading.Thread(target=look)
    looker.start()
    for hour in range(8):
        busy.add("MNQ", 20_000, hour)
        busy.seal("MNQ")
    done.set()
    looker.join()
    started.stop()
    busy.close()
    assert not wrong
