"""Every error the pipeline defines, as one tree.

PipelineError                 has .code (stable, snake_case), .retry and .hint
├── SettingsError             operator, before start
├── FeedError
│   ├── FeedLost              the supervisor retries with backoff
│   ├── FeedRefused           operator: credentials, entitlement
│   └── FeedGarbled           a whole frame or file unreadable
├── StoreError
│   ├── WalCorrupt            says segment, good length, what will be lost
│   ├── SealFailed            retried; the hour stays hot
│   ├── DiskFull              stop accepting, keep serving
│   ├── StoreBusy             another process holds the writer's lock
│   ├── PartitionCorrupt      a sealed file does not match its digest
│   └── LakeError             the bucket of the lake; what is hot or on this machine is served
│       ├── LakeLost          does not answer; tried again
│       └── LakeRefused       operator: credentials, rights, another tape's lake
├── BusError                  Redis; the tape itself is not touched
│   ├── BusLost               tried again with backoff
│   ├── BusFull               out of memory; tried again
│   └── BusRefused            operator: password, rights, another tape's keys
├── QueryError
│   ├── BadTicket  BadSql  UnknownInstrument  OutsideRetention  GapInRange
│   ├── TooMuch  TooSlow      limits
│   └── Unavailable           a part that is needed is not up
└── AccessError
    ├── Unauthenticated
    └── Forbidden

Bad data is not in this tree: it is a value with a reason. A broken assumption is an assert.
"""


class PipelineError(Exception):
    """Something around the program is wrong; `code` is what programs match on.

    `hint` says what to do next and is shown to the person or model that asked.
    """

    code = "internal"
    retry = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(PipelineError):
    """One or more settings are unknown or malformed; the message lists all of them."""

    code = "bad_settings"


class FeedError(PipelineError):
    """A source of ticks does not deliver."""

    code = "feed_error"


class FeedLost(FeedError):
    """The connection went away; worth trying again."""

    code = "feed_lost"
    retry = True


class FeedRefused(FeedError):
    """The source does not let us in; an operator must act."""

    code = "feed_refused"


class FeedGarbled(FeedError):
    """A whole frame or file cannot be read."""

    code = "feed_garbled"


class StoreError(PipelineError):
    """The tape on disk is not as it should be."""

    code = "store_error"


class WalCorrupt(StoreError):
    """Committed rows of a segment do not match their checksum."""

    code = "wal_corrupt"


class SealFailed(StoreError):
    """A partition could not be written or proven; the rows stay hot and it is tried again."""

    code = "seal_failed"
    retry = True


class DiskFull(StoreError):
    """No room for the next segment; nothing more is accepted, everything kept is served."""

    code = "disk_full"


class StoreBusy(StoreError):
    """Another process is the writer of this data folder."""

    code = "store_busy"


class PartitionCorrupt(StoreError):
    """A sealed file does not match the digest it was sealed with."""

    code = "partition_corrupt"


class LakeError(StoreError):
    """The bucket of the lake cannot be used; the hour stays hot and what is here is served."""

    code = "lake_error"


class LakeLost(LakeError):
    """The bucket does not answer; worth trying again."""

    code = "lake_lost"
    retry = True


class LakeRefused(LakeError):
    """The bucket does not let us, or holds another tape's lake; an operator must act."""

    code = "lake_refused"


class BusError(PipelineError):
    """Redis does not take what is shared; the tape itself is not touched."""

    code = "bus_error"


class BusLost(BusError):
    """Redis does not answer; worth trying again."""

    code = "bus_lost"
    retry = True


class BusFull(BusError):
    """Redis has no memory left and may not evict; worth trying again."""

    code = "bus_full"
    retry = True


class BusRefused(BusError):
    """Redis does not let us, or holds what is not ours; an operator must act."""

    code = "bus_refused"


class QueryError(PipelineError):
    """A question cannot be answered as asked."""

    code = "bad_ticket"


class BadTicket(QueryError):
    """The ticket does not parse."""

    code = "bad_ticket"


class BadSql(QueryError):
    """The statement is not one read-only SELECT over our tables, or does not bind."""

    code = "bad_sql"


class UnknownInstrument(QueryError):
    """The symbol has never been seen and is not configured."""

    code = "unknown_symbol"


class OutsideRetention(QueryError):
    """The whole range is older than what is kept."""

    code = "outside_retention"


class GapInRange(QueryError):
    """The range holds an open gap and the caller asked for strict answers."""

    code = "gap_in_range"


class TooMuch(QueryError):
    """A limit on rows, bytes, memory or rate was reached."""

    code = "too_much"


class TooSlow(QueryError):
    """The time limit was reached."""

    code = "too_slow"


class Unavailable(QueryError):
    """A part that this answer needs is not up right now."""

    code = "unavailable"
    retry = True


class AccessError(PipelineError):
    """The caller may not do this."""

    code = "forbidden"


class Unauthenticated(AccessError):
    """No key, or one that is wrong, revoked or expired."""

    code = "unauthenticated"


class Forbidden(AccessError):
    """The key is good, but lacks the scope or the symbol."""

    code = "forbidden"
