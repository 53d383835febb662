"""A small client: `Client(url, key).latest("MNQ")`. Answers are Arrow tables; `.to_polars()` each.

Sets gRPC's switches for itself, so import it before anything else uses gRPC.
"""

import json
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa

from flight_server.grpc_flags import set_grpc_flags

set_grpc_flags(is_client=True)

from pyarrow import flight  # noqa: E402  after the switches

if TYPE_CHECKING:
    import polars as pl


class Client:
    """One connection with one key."""

    def __init__(self, url: str, key: str, *, tls_root_certs: bytes | None = None) -> None:
        self._client = flight.FlightClient(url, tls_root_certs=tls_root_certs)
        bearer = (b"authorization", b"Bearer " + key.encode())
        self._options = flight.FlightCallOptions(headers=[bearer])

    def get(self, ticket: str) -> pa.Table:
        """Whatever a ticket answers."""
        return self._client.do_get(flight.Ticket(ticket), self._options).read_all()

    def query(self, sql: str, params: Sequence[object] = (), *, known_at: str = "") -> pa.Table:
        """The rows of one SELECT; values for its question marks in `params`."""
        ask: dict[str, object] = {"sql": sql, "params": list(params)}
        if known_at:
            ask["known_at"] = known_at
        return self.get(json.dumps(ask))

    def latest(self, *symbols: str) -> pa.Table:
        """The last valid trade of each symbol; of all of them where none is named."""
        return self.get(f"latest:{','.join(symbols) or '*'}")

    def ticks(self, symbol: str, start: str = "", end: str = "") -> pa.Table:
        """Trades of a time range, in time order."""
        words = [f"{name}={value}" for name, value in (("start", start), ("end", end)) if value]
        return self.get(f"ticks:{symbol}?{'&'.join(words)}" if words else f"ticks:{symbol}")

    def polars(self, ticket: str) -> "pl.DataFrame":
        """Whatever a ticket answers, as a polars frame."""
        import polars as pl

        frame = pl.from_arrow(self.get(ticket))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def act(self, action: str, body: bytes = b"") -> object:
        """An action's JSON: describe, status, gaps, whoami, cancel, healthcheck."""
        results = self._client.do_action(flight.Action(action, body), self._options)
        return json.loads(next(iter(results)).body.to_pybytes())

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
