"""Does distance follow the game? What nearest neighbours in an embedding are worth.

Sources: rank correlation, Spearman (1904); near-duplicates and the bonus, Never Give Up (arXiv
2002.06038, Algorithm 1); hubness, Radovanovic, Nanopoulos and Ivanovic, "Hubs in Space" (JMLR 11,
2010). Everything is measured in the embedding as it is, whitened as the bonus does it
(`ngu.novelty.whitening`), and in a third form of the same states, if one is given.

Shapes: N states, D dimensions, P pairs, K neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import faiss
import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from ngu.analysis.data import EmbeddingData
from ngu.analysis.episode_sums import bootstrapped, rank_correlation, share
from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.resampling import Groups, make_groups
from ngu.novelty.kernel import episodic_novelty, normalised_distances
from ngu.novelty.memory import EpisodicMemory
from ngu.novelty.ngu import NGUConfig
from ngu.novelty.whitening import RunningCovariance, whitening_matrix
from ngu.seeding import Seeds

MAX_STATES = 50_000
"""Of more states, so many in whole episodes are used."""
PAIRS = 50_000
"""Pairs of states that distances are compared over, P."""
HUB_STATES = 10_000
"""States among which hubs are looked for."""
ROOM = "room"
"""Label of the room that a state is in."""
PLACE = (("x", "player_x", "column"), ("y", "player_y", "row"))
"""Labels of where in it; of each axis the first that there is."""

_TOGETHER = 64
_CONFIG = NGUConfig()

Measured = Estimate | NotMeasured


class SpaceMeasures(NamedTuple):
    """What distances in one form of the embedding are worth."""

    steps: Measured
    """Rank correlation of distance with the steps between two states of an episode."""
    position: Measured
    """Rank correlation of distance with how far apart two states of a room are."""
    near_duplicates: Measured
    """Share of states whose nearest earlier one of the episode is within the cluster distance."""
    hubness: Measured
    """Skewness of how often a state is among the 10 nearest of another; 0 without hubs."""
    bonus_rank: Measured
    """Rank correlation of the kNN bonus with that in the embedding as it is."""
    bonus_top: Measured
    """Share of the tenth of all states that is paid most, there and here; .1 by chance."""


class Bonus(NamedTuple):
    """NGU's episodic novelty of each state, as a memory of its episode had paid it."""

    novelty: Float64[np.ndarray, " N"]
    """NaN for the first state of an episode, which is not paid."""
    nearest: Float64[np.ndarray, " N"]
    """Squared distance to the nearest, in units of the mean over all neighbours."""


def distance_measures(
    data: EmbeddingData,
    transformed: Float32[np.ndarray, "N other"] | None = None,
    *,
    seed: int = 0,
) -> dict[str, SpaceMeasures]:
    """Measure distances in the embedding as it is, whitened and transformed.

    Args:
        data: The states.
        transformed: Another form of the same states, as transform coding decorrelates them.
        seed: Of the pairs, the sample and the intervals.

    Returns:
        The measures by the space's name: ``"embedding"``, ``"whitened"`` and, where it is given,
        ``"transformed"``.

    Raises:
        ValueError: ``transformed`` has other states than the data.
    """
    if transformed is not None and len(transformed) != len(data.embeddings):
        raise ValueError(
            f"transformed must have the data's {len(data.embeddings)} rows, got {len(transformed)}"
        )
    seeds = Seeds(seed)
    rows = sampled_rows(data.episodes, len(data.embeddings), seeds.numpy("states"))
    spaces = {"embedding": data.embeddings[rows], "whitened": whitened(data.embeddings[rows])}
    if transformed is not None:
        spaces["transformed"] = np.ascontiguousarray(transformed[rows], dtype=np.float32)
    episodes = None if data.episodes is None else data.episodes[rows]
    steps = None if data.steps is None else data.steps[rows]
    labels = {name: values[rows] for name, values in data.labels.items()}
    groups = make_groups(episodes, len(rows))
    step_pairs = _step_pairs(episodes, steps, seeds.numpy("step pairs"))
    place_pairs = _place_pairs(labels, len(rows), seeds.numpy("place pairs"))
    measures: dict[str, SpaceMeasures] = {}
    plain: Bonus | None = None
    for name, embeddings in spaces.items():
        bonus = None if episodes is None else episode_bonus(embeddings, episodes)
        plain = bonus if plain is None else plain
        measures[name] = SpaceMeasures(
            _followed(embeddings, step_pairs, groups, seeds.numpy("steps")),
            _followed(embeddings, place_pairs, groups, seeds.numpy("position")),
            _near_duplicates(bonus, groups, seeds.numpy("near-duplicates")),
            hubness(embeddings, groups, seeds.numpy("hubness")),
            *_fidelity(plain, bonus, groups, seeds.numpy("fidelity")),
        )
    return measures


def sampled_rows(
    episodes: Int64[np.ndarray, " N"] | None, count: int, generator: np.random.Generator
) -> Int64[np.ndarray, " n"]:
    """Rows of whole episodes, drawn until there are `MAX_STATES`; without episodes, the first."""
    if count <= MAX_STATES or episodes is None:
        return np.arange(min(count, MAX_STATES))
    _, place, lengths = np.unique(episodes, return_inverse=True, return_counts=True)
    order = generator.permutation(len(lengths))
    fits = np.cumsum(lengths[order]) <= MAX_STATES
    # An episode that is longer than all that is used is cut.
    chosen = order[fits] if fits.any() else order[:1]
    return np.flatnonzero(np.isin(place, chosen))[:MAX_STATES]


def whitened(embeddings: Float32[np.ndarray, "N D"]) -> Float32[np.ndarray, "N D"]:
    """Return the embedding as a bonus that whitens compares it, by all states' covariance."""
    values = torch.from_numpy(embeddings)
    moments = RunningCovariance(values.shape[1])
    moments.update(values)
    matrix = whitening_matrix(moments.covariance, moments.mean)
    return ((values.double() - moments.mean) @ matrix.T).float().numpy()


def episode_bonus(
    embeddings: Float32[np.ndarray, "N D"], episodes: Int64[np.ndarray, " N"]
) -> Bonus:
    """Pay each state by its nearest among the earlier ones of its episode, as NGU does.

    The distances are normalised by their mean over all states: a running mean would make the first
    episodes worth something else than the last.

    Args:
        embeddings: In the order in which they were reached.
        episodes: Of each state.
    """
    squared = torch.from_numpy(_earlier_neighbours(embeddings, episodes)).double()
    found = squared.isfinite()
    mean = float(squared[found].mean()) if found.any() else 0.0
    novelty = episodic_novelty(
        squared,
        mean,
        epsilon=_CONFIG.epsilon,
        cluster_distance=_CONFIG.cluster_distance,
        pseudo_count=_CONFIG.pseudo_count,
        max_similarity=_CONFIG.max_similarity,
    ).numpy()
    nearest = normalised_distances(squared[:, 0], mean).numpy()
    return Bonus(np.where(found[:, 0].numpy(), novelty, np.nan), nearest)


def _earlier_neighbours(
    embeddings: Float32[np.ndarray, "N D"], episodes: Int64[np.ndarray, " N"]
) -> Float32[np.ndarray, "N K"]:
    """Squared distances to the nearest earlier states; infinite where there are fewer."""
    k = _CONFIG.neighbours
    squared = np.full((len(embeddings), k), np.inf, dtype=np.float32)
    order = np.argsort(episodes, kind="stable")
    lengths = np.unique(episodes[order], return_counts=True)[1]
    members = np.split(order, np.cumsum(lengths)[:-1])
    members.sort(key=len, reverse=True)
    for first in range(0, len(members), _TOGETHER):
        part = members[first : first + _TOGETHER]  # the longest first
        sizes = np.array([len(rows) for rows in part])
        capacity = min(sizes[0], _CONFIG.memory_capacity)
        memory = EpisodicMemory(len(part), embeddings.shape[1], int(capacity), k)
        queries = np.zeros((len(part), embeddings.shape[1]), dtype=np.float32)
        for step in range(sizes[0]):
            going = sizes > step
            rows = [member[step] for member in part[: going.sum()]]
            queries[going] = embeddings[rows]
            squared[rows] = memory.nearest(queries, going)[going]
            memory.add(queries, going)
    return squared


class _Pairs(NamedTuple):
    """Pairs of states and how far apart they are in the game."""

    first: Int64[np.ndarray, " P"]
    second: Int64[np.ndarray, " P"]
    apart: Float64[np.ndarray, " P"]


def _step_pairs(
    episodes: Int64[np.ndarray, " N"] | None,
    steps: Int64[np.ndarray, " N"] | None,
    generator: np.random.Generator,
) -> _Pairs | NotMeasured:
    """Pairs within episodes; as many 1 to 2 states apart as 2 to 4, 4 to 8 and so on."""
    if episodes is None:
        return NotMeasured("the episodes are not known")
    order = np.argsort(episodes, kind="stable")
    _, starts, lengths = np.unique(episodes[order], return_index=True, return_counts=True)
    left = np.repeat(starts + lengths, lengths) - 1 - np.arange(len(order))
    candidates = np.flatnonzero(left > 0)
    if not len(candidates):
        return NotMeasured("no episode has two states")
    first = generator.choice(candidates, PAIRS)
    lag = np.exp(generator.random(PAIRS) * np.log(left[first] + 1)).astype(np.int64)
    first, second = order[first], order[first + np.minimum(lag, left[first])]
    apart = np.abs(steps[second] - steps[first]) if steps is not None else lag
    return _Pairs(first, second, apart.astype(np.float64))


def _place_pairs(
    labels: Mapping[str, Int64[np.ndarray, " N"]], count: int, generator: np.random.Generator
) -> _Pairs | NotMeasured:
    """Pairs of states of the same room, of any episodes."""
    axes = [next((name for name in names if name in labels), None) for names in PLACE]
    place = [labels[name].astype(np.float64) for name in axes if name is not None]
    if not place:
        names = " or ".join(name for names in PLACE for name in names)
        return NotMeasured(f"no label is called {names}")
    room = labels.get(ROOM, np.zeros(count, dtype=np.int64))
    order = np.argsort(room, kind="stable")
    _, starts, sizes = np.unique(room[order], return_index=True, return_counts=True)
    first = generator.integers(count, size=PAIRS)
    within = np.repeat(np.arange(len(sizes)), sizes)[first]
    second = starts[within] + (generator.random(PAIRS) * sizes[within]).astype(np.int64)
    first, second = order[first], order[second]
    kept = first != second
    first, second = first[kept], second[kept]
    if not len(first):
        return NotMeasured("no room has two states")
    where = np.stack(place, axis=-1)
    return _Pairs(first, second, np.linalg.norm(where[first] - where[second], axis=-1))


def _followed(
    embeddings: Float32[np.ndarray, "N D"],
    pairs: _Pairs | NotMeasured,
    groups: Groups,
    generator: np.random.Generator,
) -> Measured:
    """Rank correlation of the embedding's distances with the game's."""
    if isinstance(pairs, NotMeasured):
        return pairs
    difference = embeddings[pairs.first] - embeddings[pairs.second]
    distance = np.square(difference, dtype=np.float64).sum(-1)
    for values, what in ((distance, "in the embedding"), (pairs.apart, "in the game")):
        if np.all(values == values[0]):
            return NotMeasured(f"all states are equally far apart {what}")
    return rank_correlation(distance, pairs.apart, groups.of(pairs.first), generator)


def _near_duplicates(
    bonus: Bonus | None, groups: Groups, generator: np.random.Generator
) -> Measured:
    if bonus is None:
        return NotMeasured("the episodes are not known")
    paid = np.flatnonzero(np.isfinite(bonus.novelty))
    if not len(paid):
        return NotMeasured("no episode has two states")
    same = bonus.nearest[paid] <= _CONFIG.cluster_distance
    terms = np.stack([same, np.ones_like(same)], axis=-1)
    return bootstrapped(terms, groups.of(paid), share, generator)


def hubness(
    embeddings: Float32[np.ndarray, "N D"], groups: Groups, generator: np.random.Generator
) -> Measured:
    """Skewness of the k-occurrence of up to `HUB_STATES` distinct states, k = 10.

    States that are exactly the same count once: which of them is found would be chance.
    """
    _, distinct = np.unique(embeddings, axis=0, return_index=True)
    k = _CONFIG.neighbours
    if len(distinct) < 10 * k:
        return NotMeasured(f"there are {len(distinct)} distinct states, fewer than {10 * k}")
    rows = generator.permutation(distinct)[:HUB_STATES]
    states = embeddings[rows] - embeddings[rows].mean(0)
    _, found = faiss.knn(states, states, k + 1)
    itself = found == np.arange(len(rows))[:, None]
    itself[:, -1] |= ~itself.any(-1)
    occurrence = np.bincount(found[~itself], minlength=len(rows)).astype(np.float64)
    if np.all(occurrence == k):
        return Estimate(0.0)
    centred = (occurrence - k) / k
    terms = np.stack([np.ones_like(centred), centred, centred**2, centred**3], axis=-1)
    return bootstrapped(terms, groups.of(rows), skewness, generator)


def skewness(sums: Float64[np.ndarray, "R 4"]) -> Float64[np.ndarray, " R"]:
    """Return the third standardised moment from the sums of 1, x, x^2 and x^3."""
    n, a, b, c = sums.T
    mean = a / n
    variance = b / n - mean**2
    third = c / n - 3 * mean * b / n + 2 * mean**3
    with np.errstate(invalid="ignore", divide="ignore"):
        return third / variance**1.5


def _fidelity(
    plain: Bonus | None, bonus: Bonus | None, groups: Groups, generator: np.random.Generator
) -> tuple[Measured, Measured]:
    """How alike two bonuses are: in rank, and in whom they pay most."""
    if plain is not None and plain is bonus:
        reason = NotMeasured("it is what the other spaces are compared with")
        return reason, reason
    if plain is None or bonus is None:
        reason = NotMeasured("the episodes are not known")
        return reason, reason
    paid = np.flatnonzero(np.isfinite(plain.novelty))
    if len(paid) < 10:
        reason = NotMeasured(f"{len(paid)} states have an earlier one in their episode")
        return reason, reason
    a, b = plain.novelty[paid], bonus.novelty[paid]
    constant = next(
        (name for name, values in (("as it is", a), ("here", b)) if np.ptp(values) == 0), None
    )
    if constant is not None:
        reason = NotMeasured(f"all states are paid the same {constant}")
        return reason, reason
    groups = groups.of(paid)
    best_a, best_b = _best_tenth(a), _best_tenth(b)
    terms = np.stack([best_a & best_b, best_a], axis=-1)
    rank = rank_correlation(a, b, groups, generator)
    return rank, bootstrapped(terms, groups, share, generator)


def _best_tenth(values: Float64[np.ndarray, " N"]) -> np.ndarray:
    best = np.zeros(len(values), dtype=bool)
    best[np.argsort(-values, kind="stable")[: max(1, len(values) // 10)]] = True
    return best
