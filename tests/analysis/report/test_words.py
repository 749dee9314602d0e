"""Numbers as they are read, their differences, and as JSON has them."""

import math

import numpy as np
import pytest

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.report.comparison import compare, difference
from ngu.analysis.report.record import plain
from ngu.analysis.report.section import COUNT, Number
from ngu.analysis.report.words import interval, per_cent, rounded, said


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (21.652, "21.7"), (7.9024, "7.90"), (0.01234, "0.0123"), (12345.6, "12,346"),
     (-2.5, "\N{MINUS SIGN}2.50"), (1e-5, "1.00e-05"), (math.inf, "infinite"),
     (math.nan, "undefined")],
)  # fmt: skip
def test_three_digits(value, text):
    assert rounded(value) == text


def test_shares_are_per_cent_and_counts_are_whole():
    assert [per_cent(x) for x in (0.412, 0.0123, 0.05, 1.0, -0.03)] == [
        "41",
        "1.2",
        "5",
        "100",
        "\N{MINUS SIGN}3",
    ]
    assert said(0.412, "%") == "41 %"
    assert said(3.0, COUNT) == "3"
    assert interval(Estimate(0.4, 0.3, 0.5), "%") == "30 to 50 %"
    assert interval(Estimate(0.4)) == "no interval"
    assert interval(Estimate(3.0), COUNT) == ""


def test_the_interval_of_a_difference():
    """Zou and Donner: for symmetric intervals half-widths add as squares do."""
    found = difference(Estimate(1, 0.7, 1.3), Estimate(5, 4.6, 5.4))
    assert found == pytest.approx((4, 3.5, 4.5))
    skew = difference(Estimate(0, -3, 0), Estimate(1, 1, 5))
    assert skew == pytest.approx((1, 1, 6))
    assert difference(Estimate(1), Estimate(3, 2, 4)) == Estimate(2)
    assert isinstance(difference(NotMeasured("x"), Estimate(1)), NotMeasured)
    assert isinstance(difference(Estimate(math.inf), Estimate(math.inf)), NotMeasured)


def test_numbers_are_paired_by_key():
    def number(key, value):
        return Number(key, key, Estimate(value), "")

    pairs = compare([number("a", 1), number("b", 2)], [number("b", 5), number("c", 6)])
    assert [(pair.first.key, pair.difference.value) for pair in pairs] == [("b", 3)]


def test_json_has_no_infinity_and_every_reason():
    found = plain(
        {
            "measured": Estimate(1.0, 0.5, math.nan),
            "not": NotMeasured("it is late"),
            "infinite": Estimate(math.inf),
            "array": np.array([[1.0, np.inf]]),
        }
    )
    assert found == {
        "measured": {"value": 1.0, "low": 0.5, "high": None},
        "not": {"value": None, "low": None, "high": None, "reason": "it is late"},
        "infinite": {"value": None, "low": None, "high": None, "reason": "it is inf"},
        "array": [[1.0, None]],
    }
