"""Flight SQL's prepared statements: made, given values, and run by their handle."""

import re
from dataclasses import replace
from typing import Final

import pyarrow as pa
from pyarrow import flight

from core.errors import BadSql, Forbidden, TooMuch
from flight_server import flight_sql
from flight_server.access import check_scope
from flight_server.answers import Answer, Sources, sql_question
from flight_server.asking import describe_with
from flight_server.catalog import catalog_rows
from flight_server.keys import Agent
from flight_server.ticket_kinds import Catalog, Sql
from flight_server.tickets import PARAMS_MAX, parse_handle

# As the sandbox words it; only the query worker can tell a question mark from one within a text.
_LACKS: Final = re.compile(r"the statement has (\d+) parameters, 0 values were given")


def act(sources: Sources, agent: Agent, name: str, body: bytes) -> list[bytes]:
    """Answer one of `flight_sql.ACTIONS`; raise BadSql, Forbidden or TooMuch."""
    check_scope(agent, "sql")
    if name == flight_sql.CREATE_PREPARED:
        return [_prepare(sources, agent, flight_sql.query_in(body))]
    return [flight_sql.CLOSED_RESULT] if name == flight_sql.CLOSE_SESSION else []


def bind(
    agent: Agent,
    command: bytes,
    reader: flight.MetadataRecordBatchReader,
    writer: flight.FlightMetadataWriter,
    now_ns: int,
) -> Sql:
    """Take the values of a prepared statement and answer with the handle that has them."""
    check_scope(agent, "sql")
    name, fields = flight_sql.open_any(command)
    if name != "CommandPreparedStatementQuery":
        raise Forbidden(
            "the tape is read-only over Flight SQL",
            hint="put rows with the table's name as the descriptor's path",
        )
    ask = flight_sql.statement_in(fields, lambda handle: parse_handle(handle, now_ns=now_ns))
    batches = []
    for chunk in reader:
        if chunk.data is not None:
            batches.append(chunk.data)
        if sum(batch.num_rows for batch in batches) > PARAMS_MAX:
            raise TooMuch(f"more than {PARAMS_MAX} rows of parameters", hint="give one row")
    bound = flight_sql.bind(ask, pa.Table.from_batches(batches, reader.schema))
    writer.write(flight_sql.bound_result(bound))
    return bound


def answer_catalog(sources: Sources, agent: Agent, ask: Catalog) -> Answer:
    """The rows of a catalog command."""

    def columns(view: str) -> pa.Schema:
        everything = Sql(f"SELECT * FROM {view}")  # noqa: S608  a name of ours
        return describe_with(sources.queries)(sql_question(agent, everything))

    rows = catalog_rows(ask, columns)
    return Answer(rows.schema, [rows])


def _prepare(sources: Sources, agent: Agent, ask: Sql) -> bytes:
    describe = describe_with(sources.queries)
    parameters = 0
    try:
        dataset = describe(sql_question(agent, ask))
    except BadSql as error:
        lacks = _LACKS.search(error.message)
        if lacks is None:
            raise
        parameters = int(lacks[1])
        if parameters > PARAMS_MAX:
            raise TooMuch(f"{parameters} parameters, at most {PARAMS_MAX}") from None
        unknown = replace(ask, params=(None,) * parameters)
        dataset = describe(sql_question(agent, unknown))
    return flight_sql.prepared_result(ask, dataset, parameters)
