"""The only place where a name on disk is spelled."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """Where everything lives below one data folder."""

    root: Path

    @property
    def words(self) -> Path:
        """Append-only dictionary of repeated text."""
        return self.root / "words.log"

    @property
    def keys(self) -> Path:
        """API keys, hashed."""
        return self.root / "keys.json"

    @property
    def tape_id(self) -> Path:
        """What tells this tape from others, once it was shared."""
        return self.root / "tape.id"

    @property
    def copy_of(self) -> Path:
        """The id of the tape this folder is a copy of; only a follower has it."""
        return self.root / "copy.of"

    @property
    def run(self) -> Path:
        """Sockets and status files of the running processes; may be deleted when stopped."""
        return self.root / "run"

    @property
    def intake_socket(self) -> Path:
        """Where other processes hand rows to the writer."""
        return self.run / "intake.sock"

    @property
    def gex_spool(self) -> Path:
        """Where history files wait to be published; may be deleted when stopped."""
        return self.run / "gex"

    @property
    def gex_jobs(self) -> Path:
        """The queue of history files to fetch and import."""
        return self.root / "gex_jobs.sqlite"

    def status(self, process: str) -> Path:
        """The status file one process keeps fresh."""
        return self.run / f"{process}.status.json"

    def hot(self, table: str) -> Path:
        """Folder of a table's segments or logs."""
        return self.root / "hot" / table

    def head(self, table: str) -> Path:
        """A table's mapped watermarks."""
        return self.hot(table) / "head"

    def segment(self, table: str, number: int) -> Path:
        """One segment of a fast table, or one log of a slow one."""
        return self.hot(table) / f"{number:08d}.seg"

    def lake(self) -> Path:
        """The default home of sealed partitions."""
        return self.root / "lake"

    def replica(self, name: str) -> Path:
        """What of a bucket is on this machine: its logs, and the files asked for lately."""
        return self.root / "bucket" / name

    @property
    def calls(self) -> Path:
        """The calls that are running, and requests to end one."""
        return self.run / "calls"

    @property
    def proofs(self) -> Path:
        """What verifying sealed files found, one JSON object a line."""
        return self.root / "proofs.jsonl"

    @property
    def links(self) -> Path:
        """One-time login links, named by their hash."""
        return self.run / "links"

    @property
    def sessions(self) -> Path:
        """Logged-in browsers, hashed."""
        return self.root / "sessions.json"

    @property
    def journal(self) -> Path:
        """What happened, one JSON object a line."""
        return self.root / "events.jsonl"
