"""Rows of a slow table are folded into ever larger pieces, whatever the frames they came in."""

import pyarrow as pa
import pytest

from core.schema import GAPS
from storage.pieces import FANOUT, LEVEL_MAX, PIECE_BYTES, Piece, add_piece, piece_of
from storage.slow import with_seq


def grown(frames: list[int], size_bytes: int = 100) -> list[Piece]:
    """Pieces made of frames with so many rows."""
    pieces: list[Piece] = []
    seq = 1
    for rows in frames:
        batch = with_seq(GAPS, [{"symbol": "MNQ", "gap_id": seq + k} for k in range(rows)], seq)
        add_piece(pieces, piece_of("gaps", [batch], size_bytes))
        seq += rows
    return pieces


def frame_of(seq: int) -> pa.RecordBatch:
    """A row of one of two symbols."""
    return with_seq(GAPS, [{"symbol": ("MNQ", "SPY")[seq % 2], "gap_id": seq}], seq)


def seqs(pieces: list[Piece]) -> list[int]:
    found: list[int] = []
    for piece in pieces:
        rows = piece.plain(0, 10**9)
        assert rows is not None
        found += rows.column("seq").to_pylist()
    return found


@pytest.mark.parametrize("frames", [[1] * 2_000, [1, 20] * 300, [3, 1, 1] * 400])
def test_however_many_frames_come_the_pieces_stay_few(frames: list[int]) -> None:
    pieces = grown(frames)
    whole = FANOUT**LEVEL_MAX
    assert len(pieces) <= len(frames) // whole + LEVEL_MAX * (FANOUT - 1)
    assert seqs(pieces) == list(range(1, sum(frames) + 1))


@pytest.mark.parametrize(("frames", "level"), [(1, 0), (7, 0), (8, 1), (64, 2), (512, 3), (600, 3)])
def test_frames_that_are_read_together_make_a_piece_as_if_folded(frames: int, level: int) -> None:
    piece = piece_of("gaps", [frame_of(seq) for seq in range(1, frames + 1)], 100)
    assert piece.level == level
    assert seqs([piece]) == list(range(1, frames + 1))
    assert piece.groups["SPY"].seqs.tolist() == list(range(1, frames + 1, 2))


def test_a_large_piece_is_not_copied_again() -> None:
    pieces = grown([1] * 3 * FANOUT, size_bytes=PIECE_BYTES)
    assert len(pieces) == 3 * FANOUT


def test_rows_of_one_symbol_are_given_without_a_copy() -> None:
    (piece,) = grown([100], size_bytes=PIECE_BYTES)
    given = piece.groups["MNQ"].whole.batch.column("gap_id").buffers()[1]
    assert isinstance(given, pa.Buffer)
    assert given.address == piece.groups["MNQ"].rows.column("gap_id").buffers()[1].address
