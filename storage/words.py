"""The dictionary of repeated text: symbols, contracts, sources, conditions, enumerations.

Rows hold int16 codes; a code is the position of the word in its column's list. The file is
append-only, one JSON pair a line, and a word is on disk before the first row that uses it. It
never forgets or renumbers a word.
"""

import json
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.errors import TooMuch, WalCorrupt
from core.schema import SEEDED_WORDS
from storage.disk import Disk
from storage.paths import Paths

WORDS_MAX = 32_767
WORD_BYTES_MAX = 256


class Words:
    """All words by column. Writers `intern`; readers `reload` when a code is new to them."""

    def __init__(self, paths: Paths, disk: Disk) -> None:
        self._path = paths.words
        self._disk = disk
        self._read_bytes = 0
        self.count = 0
        self.by_column: dict[str, list[str]] = {}
        self._codes: dict[str, dict[str, int]] = {}
        self._arrays: dict[str, pa.StringArray] = {}
        for column, words in SEEDED_WORDS.items():
            for word in words:
                self._learn(column, word)

    def reload(self) -> None:
        """Read what was added to the file; a torn last line is left for later."""
        if self._path.name not in self._disk.names(self._path.parent):
            return
        fresh = self._disk.read(self._path)[self._read_bytes :]
        whole = fresh[: fresh.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                column, word = json.loads(line)
            except ValueError as error:
                raise WalCorrupt(
                    f"{self._path.name} is damaged after byte {self._read_bytes}",
                    hint="restore words.log from a backup: segments cannot be read without it",
                ) from error
            self._learn(column, word)
        self._read_bytes += len(whole)

    def recover(self) -> None:
        """Read everything and cut a torn last line; only the writer does this."""
        self.reload()
        if self._path.name not in self._disk.names(self._path.parent):
            return
        everything = self._disk.read(self._path)
        if len(everything) > self._read_bytes:
            self._disk.write_whole(self._path, everything[: self._read_bytes])

    def intern(self, column: str, word: str) -> int:
        """The word's code; a new word is made durable first. Raise TooMuch at the limits."""
        code = self._codes.get(column, {}).get(word)
        if code is not None:
            return code
        if len(self.by_column.get(column, ())) >= WORDS_MAX:
            raise TooMuch(f"column {column} already has {WORDS_MAX} different words")
        if len(word.encode()) > WORD_BYTES_MAX:
            raise TooMuch(f"{column} {word[:40]!r}... is longer than {WORD_BYTES_MAX} bytes")
        line = json.dumps([column, word]).encode() + b"\n"
        self._disk.append(self._path, line)
        self._read_bytes += len(line)
        return self._learn(column, word)

    def intern_all(self, column: str, words: Iterable[str]) -> NDArray[np.int16]:
        """Codes of many words."""
        words = list(words)
        known = self._codes.get(column, {})
        try:
            return np.fromiter(map(known.__getitem__, words), np.int16, len(words))
        except KeyError:  # a new one is among them
            return np.array([self.intern(column, word) for word in words], np.int16)

    def code(self, column: str, word: str) -> int | None:
        """The word's code, or None where it was never seen."""
        return self._codes.get(column, {}).get(word)

    def array(self, column: str) -> pa.StringArray:
        """The column's words as Arrow text, the dictionary of its batches."""
        known = self.by_column.get(column, [])
        array = self._arrays.get(column)
        if array is None or len(array) != len(known):
            array = pa.array(known, pa.utf8())
            self._arrays[column] = array
        return array

    def _learn(self, column: str, word: str) -> int:
        codes = self._codes.setdefault(column, {})
        if word not in codes:
            codes[word] = len(codes)
            self.by_column.setdefault(column, []).append(word)
            self.count += 1
        return codes[word]
