"""Types of options with a range of numbers. argparse names the option, and these say what is wanted."""

import argparse
import math
from collections.abc import Callable


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a type for whole numbers of ``least`` to ``most``; None: there is no largest one."""
    wanted = f"{least} or more" if most is None else f"{least} to {most}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"got {text!r}; wants a whole number, {wanted}")
        return value

    return parse


def positive_number(text: str) -> float:
    """Return a finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}; wants a number above 0, such as 0.5 or 200")
    return value


def share(text: str) -> float:
    """Return a number between 0 and 1, without both."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; wants a number between 0 and 1, such as 0.01")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
