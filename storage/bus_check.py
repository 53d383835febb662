"""A look at Redis for an operator: does it let us in, whose tape is it, may it evict rows."""

from contextlib import closing

from core.errors import BusError
from storage.bus import Bus
from storage.paths import Paths


def look_at_redis(url: str, paths: Paths) -> tuple[bool, str]:
    """Whether all is well, and what was found with what to do about it."""
    try:
        with closing(Bus(url, "tickflight-doctor")) as bus:
            bus.open()
            tape = bus.tape()
            info = bus.call(b"INFO", b"memory").decode()
    except ValueError:
        return False, "REDIS_URL is no address of Redis"
    except BusError as error:
        return False, f"{error.message}; {error.hint}" if error.hint else error.message
    ours = {path.read_text() for path in (paths.tape_id, paths.copy_of) if path.exists()}
    if tape is not None and tape.id not in ours:
        return False, f"{bus.place} carries another folder's tape; use another database"
    if "maxmemory_policy:noeviction" not in info:
        return False, f"{bus.place} may evict rows; set maxmemory-policy to noeviction"
    marks = tape.tables.get("trades") if tape is not None else None
    told = f"trades to seq {marks.last_seq:,}" if marks else "no tape yet"
    return True, f"{bus.place}, {told}"
