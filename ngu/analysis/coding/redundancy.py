"""How much of an embedding is written twice: bits of a code of each dimension against a joint one.

Three codes write the same held-out states: (a) each dimension by itself, (b) each principal
component by itself, (c) the coordinates of a learned transform, told by a hyperprior and by those
before them; it begins as (a) or (b), whichever is better on the states that it is trained on. The
redundancy is 1 - bits(c) / bits(a) where both err as much.

Shapes: N states, D dimensions, S steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from ngu.analysis.coding.learned_code import LearnedCode
from ngu.analysis.coding.learning import EXCHANGE, Learning, LearningConfig
from ngu.analysis.coding.rate_distortion import (
    Code,
    Measured,
    Point,
    bits_at,
    dimension_estimates,
    measure,
    saved_share,
)
from ngu.analysis.coding.scalar_code import fit_scalar_code, identity, principal_axes
from ngu.analysis.coding.transform import HYPER
from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.resampling import MIN_GROUPS, Groups, make_groups
from ngu.analysis.resolution import RESOLUTION, spread

STEPS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of the quantiser, in units of the embedding's spread."""
_HELD_OUT_SHARE = 0.2
_MOST_HELD_OUT = 2**17
"""Numbers that are coded at most: 4,096 states of 32 dimensions."""
_FEWEST_HELD_OUT = 256
_MOST_TRAINED_ON = 50_000
_WIDEST = 1_024
_FULL_UPDATES = 64
"""From so many dimensions on there are fewer updates, as each takes longer."""
_COMPARED = 4_096
_LEARNING_SHARE = 0.7
_FEWEST = 100


@dataclass(frozen=True)
class Redundancy:
    """What coding an embedding came to, on held-out episodes."""

    redundancy: Estimate | NotMeasured
    """1 - bits(c) / bits(a) at the squared error of (a) at `step`; at most 1."""
    bits_per_state: Estimate | NotMeasured
    """Of (c) at that squared error."""
    bits_per_dimension: tuple[Estimate, ...] | NotMeasured
    """Of (a) at `step`, dimension by dimension [D]."""
    step: float
    """That these are told of: 1/16 of the embedding's spread."""
    redundancy_by_step: tuple[tuple[float, Estimate], ...]
    """The redundancy at the squared error of (a) at other steps, where both curves reach it."""
    curves: Mapping[str, tuple[Point, ...]]
    """Rate-distortion curves by code: independent (a), principal (b), learned (c)."""
    code: LearnedCode | None
    """(c) at `step`: its `innovations` are the embedding without what its dimensions share; None
    where nothing was measured."""
    hyperprior_bits: float
    """Bits of a state in (c) at `step` that its hyperprior takes; 0 where it was of no use."""
    trained_on: int
    """States that the codes were fitted to."""
    held_out: int
    """States that were coded, of other episodes."""
    intervals: str
    """What the intervals are over, as a clause for the report."""


def redundancy(
    embeddings: Float[np.ndarray, "N D"],
    episodes: Int64[np.ndarray, " N"] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    learning_config: LearningConfig | None = None,
) -> Redundancy:
    """Code an embedding three times at several steps.

    Args:
        embeddings: the states, finite, in the order in which they were reached.
        episodes: of each state; None: not known, and blocks of consecutive states are held out.
        seed: of what is held out, of training and of the intervals.
        progress: called with the share that is done, from 0 to 1.
        learning_config: how long (c) is trained.

    Returns:
        The measures; those that the data do not allow say why.

    Raises:
        ImportError: constriction is missing.
    """
    told = (lambda share: None) if progress is None else progress
    groups = make_groups(episodes, len(embeddings))
    unit = spread(embeddings) if len(embeddings) else 0.0
    reason = _unmeasurable(embeddings, groups, unit)
    if reason is not None:
        return _not_measured(reason, groups, RESOLUTION * unit)
    dim = embeddings.shape[1]
    train, held_out = _split(groups, max(_FEWEST_HELD_OUT, _MOST_HELD_OUT // dim), seed)
    training, states = embeddings[train], embeddings[held_out]
    of_states = groups.of(held_out)
    rotations = {"independent": identity(training), "principal": principal_axes(training)}
    steps = [unit * part for part in STEPS]
    codes: dict[str, Sequence[Code]] = {
        name: [fit_scalar_code(rotation, training, step) for step in steps]
        for name, rotation in rotations.items()
    }
    start = min(rotations, key=lambda name: _cost(codes[name], steps, training))
    config = learning_config or _updates(dim)
    learning = Learning(rotations[start], training, steps, unit, seed=seed, config=config)
    learned = learning.run(lambda share: told(_LEARNING_SHARE * share))
    codes["learned"] = learned
    curves: dict[str, list[Measured]] = {}
    for name, of_steps in codes.items():
        curves[name] = []
        for code, step in zip(of_steps, steps, strict=True):
            curves[name].append(measure(code, step, states, of_states))
            done = sum(map(len, curves.values())) / (len(codes) * len(steps))
            told(_LEARNING_SHARE + (1 - _LEARNING_SHARE) * done)
    code = learned[STEPS.index(RESOLUTION)]
    return _record(curves, code, of_states, len(train), seed)


def _cost(
    codes: Sequence[Code], steps: Sequence[float], embeddings: Float[np.ndarray, "N D"]
) -> float:
    """Bits and exchanged error of states, a mean over steps."""
    some = embeddings[:: -(-len(embeddings) // _COMPARED)]
    costs = []
    for code, step in zip(codes, steps, strict=True):
        integers = code.quantise(some)
        error = np.square(code.reconstruct(integers) - some).sum() / step**2
        costs.append(code.bits(integers).sum() + EXCHANGE * error)
    return float(np.mean(costs))


def _record(
    curves: dict[str, list[Measured]],
    code: LearnedCode,
    groups: Groups,
    trained_on: int,
    seed: int,
) -> Redundancy:
    plain, better = curves["independent"], curves["learned"]
    sizes = np.bincount(groups.index, minlength=groups.count).astype(np.float64)
    shares = saved_share(plain, better, sizes, enough=groups.enough, seed=seed)
    place = STEPS.index(RESOLUTION)
    at, share = plain[place].point, shares[place]
    by_step = zip((measured.point.step for measured in plain), shares, strict=True)
    outside = NotMeasured(
        "the learned code's curve does not reach the error of the independent one"
    )
    error = np.array([[at.squared_error.value]])
    bits = float(bits_at(better, error, np.ones((1, groups.count)), sizes)[0, 0])
    return Redundancy(
        redundancy=outside if share is None else share,
        bits_per_state=outside if share is None else _around(bits, better[place].point.bits),
        bits_per_dimension=dimension_estimates(plain[place], groups),
        step=at.step,
        redundancy_by_step=tuple((step, found) for step, found in by_step if found is not None),
        curves={name: tuple(each.point for each in curve) for name, curve in curves.items()},
        code=code,
        hyperprior_bits=float(better[place].bits_of_dimension[:, :HYPER].sum() / sizes.sum()),
        trained_on=trained_on,
        held_out=len(groups.index),
        intervals=groups.description,
    )


def _around(value: float, near: Estimate) -> Estimate:
    """A value between two points of a curve with the interval of the point at the same step."""
    if near.low is None or near.high is None:
        return Estimate(value)
    return Estimate(value, value + near.low - near.value, value + near.high - near.value)


def _updates(dim: int) -> LearningConfig:
    """How long (c) is trained."""
    full, share = LearningConfig(), min(1.0, _FULL_UPDATES / dim)
    return LearningConfig(
        *(math.ceil(share * count) for count in (full.context, full.transform, full.adapted))
    )


def _split(
    groups: Groups, most: int, seed: int
) -> tuple[Int64[np.ndarray, " T"], Int64[np.ndarray, " H"]]:
    """Rows to fit codes to, and rows of other groups to judge them by, so many at most."""
    generator = np.random.Generator(np.random.PCG64(seed))
    order = generator.permutation(groups.count)
    # Enough of them for an interval, where there are enough.
    many = max(1, round(groups.count * _HELD_OUT_SHARE), min(MIN_GROUPS, groups.count // 2))
    rows = np.arange(len(groups.index))
    judged = np.isin(groups.index, order[:many])
    return _thinned(rows[~judged], _MOST_TRAINED_ON), _thinned(rows[judged], most)


def _thinned(rows: Int64[np.ndarray, " n"], most: int) -> Int64[np.ndarray, " m"]:
    """Every k-th row, so that there are at most so many: a part of each episode."""
    return rows[:: -(-len(rows) // most)]


def _unmeasurable(
    embeddings: Float[np.ndarray, "N D"], groups: Groups, unit: float
) -> NotMeasured | None:
    count, dim = embeddings.shape
    if count < max(_FEWEST, 4 * dim):
        return NotMeasured(
            f"{count} state{'s' * (count != 1)} of {dim} dimensions are too few to fit a code to "
            f"some and judge it by others: at least {max(_FEWEST, 4 * dim)} are needed"
        )
    if dim > _WIDEST:
        return NotMeasured(f"{dim:,} dimensions are more than {_WIDEST:,}")
    if groups.count < 2:
        return NotMeasured("all states are of one group")
    if unit == 0:
        return NotMeasured("all states are the same")
    return None


def _not_measured(reason: NotMeasured, groups: Groups, step: float) -> Redundancy:
    return Redundancy(reason, reason, reason, step, (), {}, None, 0.0, 0, 0, groups.description)
