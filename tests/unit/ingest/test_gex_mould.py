"""A snapshot's bytes out of a mould are those that Arrow makes."""

import tracemalloc

import pytest

from core.schema import GEX
from ingest import gex_mould
from ingest.gex_mould import Moulds
from ingest.gex_snapshot import About, gex_columns, kind_of, parse_snapshot
from storage.arrow_stream import arrow_batch
from storage.prepared import prepare
from tests.fakes import gexbot_made as made

NOW_NS = (made.CLOSE_S + 60) * 10**9


def row_of(found):
    return parse_snapshot(kind_of(found), found, About("uw", NOW_NS))


def by_arrow(row):
    return prepare("gex", gex_columns([row]))


def without(found, *names):
    return {name: value for name, value in found.items() if name not in names}


def shapes(second):
    """What may come of one second, in every shape."""
    chain = made.chain(second)
    short = [row[:3] for row in chain["strikes"]]
    return {
        "chain": chain,
        "longer": made.chain(second, strikes=61),
        "no ladder": without(chain, "strikes"),
        "few numbers": chain | {"strikes": [[*row[:3], [1.5]] for row in chain["strikes"][:2]]},
        "empty ladder": chain | {"strikes": []},
        "no priors": chain | {"strikes": [[*row[:3], []] for row in chain["strikes"]]},
        "short rows": chain | {"strikes": short},
        "uneven": chain | {"strikes": [*short, *chain["strikes"]]},
        "no windows": without(chain, "max_priors", "change_windows", "max_change", "maxchange"),
        "null": chain | {"zero_gamma": None, "delta_risk_reversal": None},
        "more": chain | {"weather": "fair"},
        "a fraction": chain | {"timestamp": second + 0.000_000_5},
        "majors": made.majors(second),
        "maxchange": made.maxchange(second),
        "greeks": made.greeks(second),
        "orderflow": made.orderflow(second),
        "exposures": made.uw_exposures(second),
    }


SHAPES = sorted(shapes(made.OPEN_S))


@pytest.mark.parametrize("shape", SHAPES)
def test_it_gives_what_arrow_gives(shape):
    moulds = Moulds()
    for second in range(made.OPEN_S, made.OPEN_S + 5):
        row = row_of(shapes(second)[shape])
        assert moulds.ready(row) == by_arrow(row)
    assert None not in moulds._moulds.values()


def test_shapes_do_not_get_into_each_others_moulds():
    moulds = Moulds()
    for second in range(made.OPEN_S, made.OPEN_S + 5):
        for found in shapes(second).values():
            row = row_of(found)
            assert moulds.ready(row) == by_arrow(row)


@pytest.mark.parametrize(
    "shape", sorted({*SHAPES} - {"few numbers", "empty ladder", "short rows", "uneven"})
)
def test_the_third_of_a_kind_needs_no_arrow(shape, monkeypatch):
    moulds = Moulds()
    for second in (made.OPEN_S, made.OPEN_S + 1):
        moulds.ready(row_of(shapes(second)[shape]))
    row = row_of(shapes(made.OPEN_S + 2)[shape])
    expected = by_arrow(row)
    monkeypatch.delattr(gex_mould, "gex_columns")
    assert moulds.ready(row) == expected


def test_numbers_are_put_where_they_belong():
    moulds = Moulds()
    for second in range(made.OPEN_S, made.OPEN_S + 3):
        row = row_of(made.chain(second, strikes=7))
        stored = arrow_batch(moulds.ready(row).numbered(41))
    assert stored.schema == GEX.plain_schema
    assert stored.drop_columns(["seq"]).equals(
        arrow_batch(by_arrow(row).numbered(1)).drop_columns(["seq"])
    )
    assert stored["seq"].to_pylist() == [41]


def test_a_mould_that_does_not_fit_is_not_used(monkeypatch):
    def wrong(row, make=gex_mould._moulded):
        mould = make(row)
        return gex_mould.replace(mould, reals=[(n, at + 8) for n, at in mould.reals])

    monkeypatch.setattr(gex_mould, "_moulded", wrong)
    moulds = Moulds()
    for second in range(made.OPEN_S, made.OPEN_S + 4):
        row = row_of(made.chain(second))
        assert moulds.ready(row) == by_arrow(row)


def test_only_so_many_are_kept(monkeypatch):
    monkeypatch.setattr(gex_mould, "MOULDS_MAX", 2)
    monkeypatch.setattr(gex_mould, "SEEN_MAX", 2)
    moulds = Moulds()
    for strikes in (3, 4, 5, 6, 3, 4, 5, 6):
        for second in range(made.OPEN_S, made.OPEN_S + 3):
            row = row_of(made.chain(second, strikes=strikes))
            assert moulds.ready(row) == by_arrow(row)
            assert len(moulds._moulds) <= 2
            assert len(moulds._seen) <= 2


def test_what_is_long_is_not_kept():
    moulds = Moulds()
    for number in range(20):
        for second in range(made.OPEN_S, made.OPEN_S + 3):
            more = {"more": f"{number:02}" * 40_000}
            row = row_of(made.chain(second) | more)
            assert moulds.ready(row) == by_arrow(row)
    assert not moulds._moulds
    assert not moulds._seen


def test_what_comes_once_is_not_kept_as_it_came():
    moulds = Moulds()
    tracemalloc.start()
    try:
        for number in range(400):
            moulds.ready(row_of(made.chain(made.OPEN_S) | {"more": f"{number:04}" * 5_000}))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000
