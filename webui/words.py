"""Numbers and ages as people read them."""


def format_number(value: float | None) -> str:
    """Group thousands; an unknown value is a dash, never 0."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def format_age(seconds: float | None) -> str:
    """One unit, about three digits: 84 ms, 7.2 s, 74 s, 2 h 11 m."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = int(seconds // 60)
    return f"{minutes} m" if minutes < 60 else f"{minutes // 60} h {minutes % 60} m"
