"""Find how many tokens a batch should have: enough to fill the device, in less than about a second. Pure."""

from collections.abc import Callable

SMALLEST = 64
"""Tokens of the smallest batch that is tried."""
SECONDS_MAX = 1.0
"""Longest time for a batch, in seconds."""
FULL = 0.95
"""Share of the best rate at which the device counts as full. A larger batch would only make records wait longer."""


def find_batch_tokens(seconds_of: Callable[[int], float], *, largest: int) -> int:
    """Return how many tokens a batch should have; try batches of doubling size until one takes too long.

    Args:
        seconds_of: Scores a batch of about the given number of tokens. Returns the seconds that it took, or
            infinity when the batch could not be scored.
        largest: Upper limit of the result, in tokens.

    Returns:
        The smallest size within 5 % of the best rate among those under a second; ``SMALLEST`` if none is under a
        second.
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
