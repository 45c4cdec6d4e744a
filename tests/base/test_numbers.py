"""Numbers as people read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datk.base.numbers import number_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7125, "0.713"),
        (0, "0.000"),
        (1, "1.000"),
        (-0.0004, "-0.000"),
        (-12.3456, "-12.346"),
        (-1234567.0, "-1.235e+06"),
    ],
)
def test_three_decimals(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7125, "0.7125"),
        (0.00012345, "0.0001234"),
        (0.000099996, "0.0001000"),
        (2.5e-5, "2.500e-05"),
        (31.0049, "31.00"),
        (312340.4, "312340"),
        (999999.7, "1.000e+06"),
        (-6.02214e23, "-6.022e+23"),
        (5e-324, "4.941e-324"),
        (0.0, "0.000"),
    ],
)
def test_significant_digits(value, text):
    assert number_text(value, any_size=True) == text


@pytest.mark.parametrize(
    ("value", "spread", "any_size", "text"),
    [
        (0.9, 0.0, False, "0.900 ± 0.000"),
        (312340.4, 1180.2, True, "312340 ± 1180"),
        (0.00012345, 0.0000056, True, "0.0001234 ± 0.0000056"),
        (3.1234e8, 1.2e6, True, "3.123e+08 ± 0.012e+08"),
        (0.0, 2e-9, True, "0.000e-09 ± 2.000e-09"),
        (-2.5e4, 3e4, False, "-25000 ± 30000"),
    ],
)
def test_a_spread_has_as_many_decimals(value, spread, any_size, text):
    assert number_text(value, spread, any_size=any_size) == text


@given(st.floats(1e-300, 1e300), st.sampled_from([1, -1]))
def test_four_digits_are_there_whatever_the_size(value, sign):
    assert float(number_text(sign * value, any_size=True)) == pytest.approx(sign * value, rel=5.01e-4)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number(value):
    assert number_text(value, 1.0) == str(value)
