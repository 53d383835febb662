from ingest.score import spot_rows
from storage.spot import Spot


def test_a_sample_of_a_table_without_symbols_is_filed_under_every_symbol():
    spot = Spot("queries", "", "digest", 1, 2, 5, 5, "row group 0")
    rows = spot_rows([spot], 3)
    assert rows.column("symbol").to_pylist() == ["*"]
