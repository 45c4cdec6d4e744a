"""Numbers as people read them."""

import math
from decimal import Decimal

DIGITS = 4
"""Significant digits of a number that may be of any size."""


def number_text(value: float, spread: float | None = None, *, any_size: bool = False) -> str:
    """A number, and behind it its spread with as many decimals, for instance `0.712 ± 0.004`.

    Three decimals; of a number that may be of any size four significant digits, `0.0001234` or `312340`, and
    with a power of ten where zeros would have to be counted: `3.123e+08 ± 0.012e+08`.
    """
    if not math.isfinite(value):
        return str(value)
    decimals, exponent = 3, 0
    if any_size or abs(value) >= 1000:
        # Of a spread that is larger than its number the spread's digits are those that mean something.
        size = _exponent(max(abs(value), spread if spread is not None and math.isfinite(spread) else 0.0))
        if -DIGITS <= size <= 5:
            decimals = max(0, DIGITS - 1 - size)
        else:
            exponent = size
    power = f"e{exponent:+03d}" if exponent else ""

    def text(number: float) -> str:
        return f"{Decimal(number).scaleb(-exponent):.{decimals}f}{power}"

    return text(value) if spread is None else f"{text(value)} ± {text(spread)}"


def _exponent(value: float) -> int:
    """Power of ten of the first digit, after rounding; 0 of 0."""
    return int(f"{value:.{DIGITS - 1}e}".partition("e")[2])
