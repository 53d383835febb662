from storage.proofs import Proof, Proofs


def test_the_last_proof_of_a_file_counts(tmp_path):
    proofs = Proofs(tmp_path / "proofs.jsonl")
    assert proofs.read() == {}
    proofs.note([Proof("a", 1), Proof("b", 2, "a byte is wrong")])
    proofs.note([Proof("b", 3)])
    assert proofs.read() == {"a": Proof("a", 1), "b": Proof("b", 3)}


def test_a_torn_line_costs_only_itself(tmp_path):
    path = tmp_path / "proofs.jsonl"
    Proofs(path).note([Proof("a", 1)])
    path.write_bytes(path.read_bytes() + b'{"path": "b", "at')
    Proofs(path).note([Proof("c", 2)])
    assert list(Proofs(path).read()) == ["a", "c"]


def test_what_is_told_again_or_of_files_that_are_gone_is_dropped_when_it_grows_long(
    tmp_path,
):
    living = tmp_path / "living.parquet"
    living.touch()
    proofs = Proofs(tmp_path / "proofs.jsonl", bytes_max=600)
    for number in range(100):
        proofs.note([Proof(str(living), number), Proof(f"gone-{number}", number)])
        assert (tmp_path / "proofs.jsonl").stat().st_size <= 600 + 200
    assert proofs.read()[str(living)] == Proof(str(living), 99)
