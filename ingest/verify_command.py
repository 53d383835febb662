"""`tickflight verify`: sealed files against digests, bars against trades, kept spot checks."""

import random
from collections.abc import Callable
from contextlib import suppress

from core.clock import Clock
from core.errors import Unavailable
from core.settings import Settings
from ingest.score import SCORE_MIN, Tally, read_tallies
from storage.lake import Lake, lake_of
from storage.paths import Paths
from storage.proofs import Proof, Proofs
from storage.spot import Spotter
from storage.verify import verify
from storage.view import Views

Say = Callable[[str], None]
SAMPLE_FILES = 200
SAMPLE_HOURS = 50


def verify_command(settings: Settings, clock: Clock, *, check_all: bool, say: Say) -> int:
    """Print what was compared and the score of each; 1 where one is below 99.9 %.

    When each file was verified is kept for the dashboard.
    """
    rng = random.SystemRandom()
    proofs: list[Proof] = []
    sample = None if check_all else SAMPLE_FILES
    lake = lake_of(settings)
    score = verify(
        lake,
        sample=sample,
        rng=rng,
        tell=lambda file, fault: proofs.append(Proof(file.path, clock.now_ns(), fault)),
    )
    if proofs:
        _keep(Proofs(Paths(settings.data_dir).proofs), proofs, say)
    for fault in score.faults:
        say(f"fault: {fault.path}: {fault.reason} ({fault.rows:,} rows)")
    if score.files:
        say(
            f"verified {score.checked_rows:,} rows in {score.files:,} files: "
            f"{score.percent:.4f} % are as they were sealed"
        )
    else:
        say(f"nothing is sealed in {lake} yet, so there is nothing to verify")
    is_good = score.percent >= 100 * SCORE_MIN
    bars = _bars(lake, rng)
    if bars.checked:
        say(
            f"made {bars.checked:,} minute bars of {bars.samples} hours again: "
            f"{bars.score:.4%} are as they were kept"
        )
    is_good &= bars.score >= SCORE_MIN
    tallies: dict[str, Tally] = {}
    with suppress(Unavailable):  # no store was ever started here
        tallies = read_tallies(Views(Paths(settings.data_dir), lake).view(), 0)
    for witness, tally in sorted(tallies.items()):
        say(
            f"spot checks against {witness}: {tally.matched:,} of {tally.checked:,} rows equal "
            f"in {tally.samples:,} samples ({tally.unverifiable:,} unverifiable): "
            f"{tally.score:.4%}, with 95 % confidence at least {tally.wilson_low:.4%}"
        )
        is_good &= tally.score >= SCORE_MIN
    return 0 if is_good else 1


def _keep(kept: Proofs, proofs: list[Proof], say: Say) -> None:
    try:
        kept.note(proofs)
    except OSError as error:
        say(f"when files were verified cannot be kept: {error.strerror}")


def _bars(lake: Lake, rng: random.Random) -> Tally:
    """Random hours of minute bars, made again."""
    spotter, bars = Spotter(lake, rng), Tally()
    for _ in range(SAMPLE_HOURS):
        spot = spotter.check_rollup()
        if spot is not None:
            bars = bars.plus(spot.rows, spot.matched)
    return bars
