"""How many tokens a batch should have: what fills the device and takes less than about a second. Pure."""

from collections.abc import Callable

SMALLEST = 64
SECONDS_MAX = 1.0
FULL = 0.95
"""Of the best rate: what counts as a device that is full. More would only make everybody wait longer."""


def find_bound(seconds_of: Callable[[int], float], *, largest: int) -> int:
    """Tries batches of twice as many tokens each, until one takes too long.

    Args:
        seconds_of: Scores a batch of about so many tokens and gives what it took; infinity where it can't.
        largest: The bound never exceeds it.

    Returns:
        The least bound within 5 % of the best rate, among those under a second; the smallest if none is.
    """
    rates: dict[int, float] = {}
    tokens = SMALLEST
    while tokens <= largest:
        seconds = seconds_of(tokens)
        if seconds > SECONDS_MAX:
            break
        rates[tokens] = tokens / max(seconds, 1e-9)
        tokens *= 2
    if not rates:
        return SMALLEST
    best = max(rates.values())
    return next(tokens for tokens, rate in rates.items() if rate >= FULL * best)
