"""Writes Sierra Chart intraday files field by field, with every kind of record and fault."""

import struct

EPOCH_US = 2_209_161_600_000_000
FIRST_SUB_TRADE = struct.unpack("<f", bytes.fromhex("f99e70fd"))[0]
LAST_SUB_TRADE = struct.unpack("<f", bytes.fromhex("019f70fd"))[0]


def header(*, magic=b"SCID", header_bytes=56, record_bytes=40):
    head = struct.pack("<4sIIHHI", magic, header_bytes, record_bytes, 1, 0, 0)
    return head.ljust(header_bytes, b"\0")


def record(unix_us, price, size=1, *, bid=0.0, ask=0.0, side=0, opened=0.0, trades=1):
    """One record as the file has it: prices already multiplied by the file's factor."""
    at_bid, at_ask = (size if side < 0 else 0), (size if side > 0 else 0)
    fields = (unix_us + EPOCH_US, opened, ask, bid, price, trades, size, at_bid, at_ask)
    return struct.pack("<qffffIIII", *fields)


def quote(unix_us, bid, ask):
    return record(unix_us, (bid + ask) / 2, 0, bid=bid, ask=ask)


def bar(unix_us, opened, high, low, close, *, trades=7, volume=70):
    fields = (unix_us + EPOCH_US, opened, high, low, close, trades, volume, 30, 40)
    return struct.pack("<qffffIIII", *fields)


def bundle(unix_us, price, sizes, **more):
    """One trade told in parts, the counter below the millisecond running."""
    parts = []
    for place, size in enumerate(sizes):
        opened = {0: FIRST_SUB_TRADE, len(sizes) - 1: LAST_SUB_TRADE}.get(place, 0.0)
        parts.append(record(unix_us + place, price, size, opened=opened, **more))
    return parts


def scid(*records, tail=b"", **about):
    """A whole file; `tail` is what a writer in mid-record has got down so far."""
    return header(**about) + b"".join(records) + tail


def reader_of(raw):
    """A `ReadAt` over bytes, as `os.pread` is over a file."""
    return lambda length, offset: raw[offset : offset + length]
