import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PartitionCorrupt
from storage.digest import Blank, Digest, column_crc, parse_digest, prove_file, stamp

LADDER = pa.list_(pa.struct([("strike", pa.float64()), ("priors", pa.list_(pa.int64()))]))
TYPES = {
    pa.int16(): st.integers(-5, 5),
    pa.float64(): st.sampled_from([0.0, 1.25, float("inf")]),
    pa.bool_(): st.booleans(),
    pa.timestamp("us"): st.integers(0, 9),
    pa.utf8(): st.text(max_size=3),
    pa.binary(): st.binary(max_size=3),
    pa.list_(pa.float64(), 2): st.lists(st.floats(0, 1), min_size=2, max_size=2),
    LADDER: st.lists(
        st.fixed_dictionaries(
            {
                "strike": st.none() | st.floats(0, 9),
                "priors": st.none() | st.lists(st.integers(0, 9)),
            }
        ),
        max_size=2,
    ),
}


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_equal_values_and_only_they_have_equal_checksums(kind):
    values = st.lists(st.none() | TYPES[kind], max_size=6)

    @given(values, values)
    def check(left, right):
        a, b = pa.array(left, kind), pa.array(right, kind)
        assert (column_crc(a) == column_crc(b)) == a.equals(b)
        padded = pa.concat_arrays([b, a, b])
        assert column_crc(padded.slice(len(b), len(a))) == column_crc(a)

    check()


def test_words_count_by_their_text_and_not_by_their_code():
    left = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int16()), ["a", "b"])
    right = pa.DictionaryArray.from_arrays(pa.array([2, 0, None], pa.int16()), ["b", "", "a"])
    assert column_crc(left) == column_crc(right) == column_crc(pa.array(["a", "b", None]))


def test_zeros_and_nans_that_a_reader_cannot_tell_apart_are_equal():
    odd_nan = np.frombuffer(np.uint64(0x7FF8000000000BAD).tobytes(), np.float64)
    assert column_crc(pa.array([-0.0])) == column_crc(pa.array([0.0]))
    assert column_crc(pa.array(odd_nan)) == column_crc(pa.array([float("nan")]))


def test_a_missing_or_mangled_digest_is_told(tmp_path):
    for metadata in (None, {}, {b"tickflight": b"{"}, {b"tickflight": b'{"version":2}'}):
        with pytest.raises(PartitionCorrupt):
            parse_digest(metadata, 10)


def test_every_flipped_byte_of_a_stamped_file_is_found(tmp_path):
    digest = Digest(4)
    digest.add(pa.record_batch({"seq": [1, 2, 3, 4]}))
    digest.add(pa.record_batch({"seq": [5]}))
    blank = Blank(("seq",), 4, 5)
    path = tmp_path / "file"
    path.write_bytes(b"PAR1 rows " + blank.text().encode() + b" tail PAR1")
    stamp(path, blank, digest)
    prove_file(path)
    good = path.read_bytes()
    told = good[good.index(b"{") : good.rindex(b"}") + 1]
    assert parse_digest({b"tickflight": told}, 5) == digest
    for i in range(len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ 0x10]) + good[i + 1 :])
        with pytest.raises(PartitionCorrupt):
            prove_file(path)


def test_an_empty_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PartitionCorrupt):
        prove_file(tmp_path / "file")
