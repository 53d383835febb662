"""A lake in a bucket as several machines see it, and rows to seal there."""

import polars as pl

from core.settings import load_settings
from storage.lake import lake_of
from storage.manifest import Manifest
from tests.fakes.lake_rows import hours_later, tape

ROWS = tape(60) + hours_later(tape(40), 1, 201) + hours_later(tape(10), 30, 401)


def opened(settings, folder, **more):
    """The same lake on another machine."""
    values = {**settings.as_env(), "DATA_DIR": str(folder), **more}
    return lake_of(load_settings(values, environ={}))


def seqs_of(lake, table="trades", symbol="MNQ"):
    found = []
    for file in Manifest(lake, table).fetch().pruned(symbols=[symbol]):
        found += pl.read_parquet(file.local())["seq"].to_list()
    return sorted(found)


def seqs(rows):
    return sorted(row.seq for row in rows)
