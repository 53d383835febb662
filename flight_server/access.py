"""What a ticket needs of a key: one table, asked at every door before anything is answered."""

from collections.abc import Sequence
from typing import assert_never

from core.errors import Forbidden
from core.symbol import GEX_TICKERS
from flight_server.keys import Agent
from flight_server.ticket_kinds import (
    Bars,
    BookAt,
    Catalog,
    Latest,
    Live,
    Range,
    Sql,
    State,
    Tail,
    Ticket,
)


def check_access(agent: Agent, ask: Ticket) -> None:
    """Raise Forbidden where the key lacks the ticket's scope or one of its symbols."""
    match ask:
        case Latest(symbols):
            check_scope(agent, "read")
            check_symbols(agent, symbols or ())
        case Live(symbols):
            check_scope(agent, "live")
            check_symbols(agent, symbols)
        case State("gex", symbol):
            check_scope(agent, "read")
            # Whoever may see a contract may see the ladder of its root, and the other way round.
            if agent.seen is not None and GEX_TICKERS.get(symbol, symbol) not in agent.seen:
                check_symbols(agent, [symbol])
        case Range(_, symbol) | State(_, symbol) | Bars(symbol) | BookAt(symbol) | Tail(symbol):
            check_scope(agent, "read")
            check_symbols(agent, [symbol])
        case Sql() | Catalog():
            # Its symbols go with the question and are enforced where the tables are read.
            check_scope(agent, "sql")
        case _ as never:
            assert_never(never)


def check_scope(agent: Agent, scope: str) -> None:
    """Raise Forbidden where the key lacks a scope."""
    if scope not in agent.scopes:
        raise Forbidden(
            f"the key of {agent.name!r} lacks the scope {scope}, "
            f"it has {', '.join(sorted(agent.scopes))}",
            hint=f"ask the operator for a key made with --scope {scope}",
        )


def check_symbols(agent: Agent, symbols: Sequence[str]) -> None:
    """Raise Forbidden where the key does not allow one of the symbols."""
    if agent.symbols is None:
        return
    refused = [symbol for symbol in symbols if symbol not in agent.symbols]
    if refused:
        raise Forbidden(
            f"the key of {agent.name!r} does not allow {', '.join(refused)}, "
            f"it allows {', '.join(sorted(agent.symbols))}",
            hint="ask for those, or ask the operator for another key",
        )
