"""What a fake DXLink server can be told to do wrong."""

from dataclasses import dataclass


@dataclass
class Faults:
    """Knobs; all may be set together."""

    refused_auths: int = 0  # this many AUTHs are refused
    refused_upgrades: int = 0  # this many websocket upgrades are answered 502
    dropped_fields: frozenset = frozenset()
    field_order: list | None = None
    sends_full: bool = False
    history: str = "whole"  # whole, empty, snip, endless, silent
    snip_rows: int = 50
    rows_per_frame: int = 10
    is_stale: bool = False  # keepalives go on, data do not
    is_mute: bool = False  # nothing is sent at all
    silent_types: frozenset = frozenset()  # not entitled: no data, no error
    silent_symbols: frozenset = frozenset()
    day_volume: float | None = None  # said in place of the truth
    repeats: int = 1  # how often each data frame is sent
    shuffles: bool = False  # rows of a frame in reverse
    refuses_channels: int = 0  # this many CHANNEL_REQUESTs get a channel ERROR
    frames_lost: int = 0  # dropped on the way without a word
    blocked_auths: int = 0  # this many AUTHs meet a session that is not closed yet
    fragment_chars: int = 0  # frames go out in pieces of this size, slowly
    mixes: bool = False  # every row in a block of its own
    interleaves: bool = False  # live prints between the frames of history
