import json
import math
import struct

import numpy as np
import pyarrow as pa

from webui.columns import raw_columns

KINDS = {"f64": "<f8", "i8": "i1", "u16": "<u2"}


def read(raw):
    """(header, columns) as a browser reads them: nothing but places and little-endian numbers."""
    (length,) = struct.unpack_from("<I", raw)
    header = json.loads(raw[4 : 4 + length])
    base = -(-(4 + length) // 8) * 8
    columns = {}
    for told in header["columns"]:
        assert (base + told["at"]) % 8 == 0  # else a typed array cannot be laid there
        kind = np.dtype(KINDS[told["type"]])
        values = np.frombuffer(raw, kind, header["rows"], base + told["at"]).tolist()
        columns[told["name"]] = [told["words"][v] for v in values] if "words" in told else values
    return header, columns


def asked(site, query):
    answer = site.ask(f"/ui/cols?{query}")
    assert answer.status_code == 200, answer.text
    return read(answer.content)


def test_columns_of_any_kind_and_length_are_read_back_as_they_were():
    for rows in (0, 1, 3, 8, 1_001):
        table = pa.table(
            {
                "side": pa.array([1, -1, 0] * rows, pa.int8())[:rows],
                "price": pa.array([24_917.25, None] * rows, pa.float64())[:rows],
                "contract": pa.array(["MNQZ26", "MNQH27"] * rows, pa.utf8())[:rows],
                "seq": pa.array(range(rows), pa.int64()),
            }
        )
        header, columns = read(raw_columns(table, {"seq": 7}))
        assert (header["rows"], header["seq"]) == (rows, 7)
        prices = [None if math.isnan(p) else p for p in columns.pop("price")]
        assert {**columns, "price": prices} == table.to_pydict()


def test_the_tape_comes_oldest_first_and_then_only_what_is_new(site):
    site.trade("MNQ", 24_916.25, age_s=2, size=2)
    site.trade("SPY", 678.0)
    site.trade("MNQ", 24_917.0, age_s=1)
    site.look()
    header, columns = asked(site, "symbol=MNQ&n=500")
    assert columns["price"] == [24_916.25, 24_917.0]
    assert columns["size"] == [2, 1]
    assert columns["contract"] == ["MNQZ26", "MNQZ26"]
    assert all(math.isnan(bid) for bid in columns["bid"])
    assert columns["ts_event"][0] == site.clock.now_ns() / 1e6 - 2_000
    seen = header["seq"]
    assert asked(site, f"symbol=MNQ&after={seen}")[0]["rows"] == 0
    site.trade("MNQ", 24_918.0)
    header, columns = asked(site, f"symbol=MNQ&after={seen}")
    assert columns["price"] == [24_918.0]
    assert header["seq"] == seen + 1


def test_no_more_rows_come_than_are_asked_for_and_they_are_the_newest(site):
    for price in range(1, 51):
        site.trade("MNQ", price, age_s=60 - price)
    site.look()
    assert asked(site, "symbol=MNQ&n=3")[1]["price"] == [48.0, 49.0, 50.0]
    assert asked(site, "symbol=MNQ&n=3&after=1")[1]["price"] == [48.0, 49.0, 50.0]


def test_columns_that_cannot_be_are_refused_with_a_reason(site):
    site.trade("MNQ", 1.0)
    site.look()
    for query, status in (("symbol=NOPE", 404), ("symbol=MNQ&n=1000000", 400),
                          ("symbol=MNQ&after=-1", 400)):  # fmt: skip
        assert site.ask(f"/ui/cols?{query}").status_code == status


def test_the_top_of_the_tape_is_in_the_page_before_any_script(site):
    site.trade("MNQ", 24_917.25, size=3)
    site.look()
    page = site.ask("/market/MNQ").text
    assert "24,917.25</td>" in page
    assert "MNQZ26</td>" in page
