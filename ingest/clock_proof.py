"""What a web server's `Date` header proves of our clock.

The header is the server's second, rounded down, at some moment between our asking and its answer's
arrival. So an answer stamped after it came proves that our clock is slow, and one whose second was
over before we asked proves that it is fast; in between nothing is proven.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime

from core.clock import NS_PER_S


def clock_error_s(date: str | None, asked_ns: int, came_ns: int) -> float | None:
    """How far our clock is off for sure, in seconds: above 0 it is fast, below slow.

    `date` is the header, the others epoch ns by our clock. None where there is no readable header.
    """
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    told_ns = int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * NS_PER_S
    fast_ns = asked_ns - (told_ns + NS_PER_S)
    slow_ns = told_ns - came_ns
    return (max(fast_ns, 0) - max(slow_ns, 0)) / NS_PER_S
