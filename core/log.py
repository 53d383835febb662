"""Log lines of one form: `noun.verb_past key=value`.

ERROR means somebody must act; WARNING, hurt but healing; INFO, life cycle; DEBUG, per batch.
Values whose key names a secret are never written.
"""

import logging
import sys
from time import gmtime as time_gmtime

SECRET_WORDS = ("secret", "token", "password", "api_key", "authorization")


class Log:
    """A named logger that takes its facts as keywords."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"tickflight.{name}")

    def debug(self, event: str, **facts: object) -> None:
        self._write(logging.DEBUG, event, facts)

    def info(self, event: str, **facts: object) -> None:
        self._write(logging.INFO, event, facts)

    def warning(self, event: str, **facts: object) -> None:
        self._write(logging.WARNING, event, facts)

    def error(self, event: str, **facts: object) -> None:
        self._write(logging.ERROR, event, facts)

    def exception(self, event: str, **facts: object) -> None:
        """Write an ERROR with the traceback of the exception being handled."""
        self._write(logging.ERROR, event, facts, exc_info=True)

    def _write(
        self, level: int, event: str, facts: dict[str, object], *, exc_info: bool = False
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", format_facts(event, facts), exc_info=exc_info)


def format_facts(event: str, facts: dict[str, object]) -> str:
    """Put an event and its facts on one line; quote values with blanks; mask secrets."""
    words = [event]
    for key, value in facts.items():
        if any(secret in key for secret in SECRET_WORDS):
            text = "***"
        else:
            text = str(value).replace("\n", "\\n")
        words.append(f'{key}="{text}"' if " " in text else f"{key}={text}")
    return " ".join(words)


def start_logging(process: str, *, verbose: bool = False) -> None:
    """Send this process's log to stderr, one line an event, times in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(
        f"%(asctime)s.%(msecs)03dZ %(levelname)-7s {process}: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time_gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger("tickflight")
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False
