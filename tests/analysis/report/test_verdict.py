"""The verdict says what the numbers say, on both sides of its thresholds."""

import pytest

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.report.section import COUNT, Number
from ngu.analysis.report.verdict import verdict


def numbers(**found):
    return {key: Number(key, key.replace("_", " "), value, "") for key, value in found.items()}


def said(known=None, dim=32, **found):
    return " ".join(verdict(numbers(**found), dim, known or {}))


@pytest.mark.parametrize(
    ("rank", "words"),
    [(31.0, "all"), (25.0, "most"), (12.0, "some"), (6.0, "few"), (1.2, "has collapsed")],
)
def test_dimensions(rank, words):
    text = said(effective_rank=Estimate(rank, rank - 0.5, rank + 0.5))
    assert words in text
    assert " of 32 in effect" in text


def test_idle_dimensions_are_counted():
    text = said(
        effective_rank=Estimate(20.0, 19.0, 21.0),
        dead_dimensions=Estimate(1.0),
        duplicated_dimensions=Estimate(3.0),
    )
    assert text == (
        "The embedding uses most of its dimensions: 20.0 (19.0 to 21.0) of 32 in effect; "
        "1 does not move and 3 repeat others."
    )


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.01, "almost nothing twice"), (0.1, "some things twice"),
     (0.3, "dimensions repeat each other"), (0.7, "mostly repeat each other")],
)  # fmt: skip
def test_redundancy(share, words):
    text = said(
        redundancy=Estimate(share, share - 0.01, share + 0.01),
        bits_per_state=Estimate(61.2, 60, 62),
    )
    assert words in text
    assert f"{100 * share:.0f} % of the bits" in text
    assert "61.2 bits" in text


def test_what_it_knows_the_best_first():
    known = {"room": ("F1", 0.98), "x": ("R2", 0.8), "y": ("R2", 0.6), "keys": ("F1", 0.2)}
    assert said(known) == (
        "On episodes held out, a linear probe reads well room (F1 0.98), x (R2 0.80); "
        "in part y (R2 0.60); hardly keys (F1 0.20)."
    )
    many = {f"v{i}": ("F1", 0.9) for i in range(6)}
    assert "v3 (F1 0.90) and 2 more." in said(many)


def test_a_reason_is_given_once():
    late = NotMeasured("it is late")
    assert said(redundancy=late, bits_per_state=late, mig=NotMeasured("it is early")) == (
        "Not measured: redundancy, bits per state (because it is late), mig (because it is early)."
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.1, "hardly follow"), (0.3, "loosely follow"), (0.6, "distances follow"),
     (0.9, "closely follow")],
)  # fmt: skip
def test_distances(value, words):
    steps, place = Estimate(value, value - 0.01, value + 0.01), Estimate(0.02)
    text = said(distance_follows_steps=steps, distance_follows_position=place)
    assert f"{words} the steps between two states (rank correlation {value:.3f}, " in text
    assert text.endswith(
        ", and hardly follow how far apart two states of a room are (rank correlation 0.0200)."
    )
    assert said(distance_follows_position=place).startswith("Its distances hardly follow how far")


def test_counts_are_no_judgement_of_what_was_not_measured():
    assert verdict({"n": Number("n", "n", Estimate(1.0), "", COUNT)}, 4, {}) == ()
