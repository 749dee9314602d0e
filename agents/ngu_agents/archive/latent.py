"""Cells in a learned latent: states whose embeddings lie near each other count as the same.

The embedding is that of Never Give Up (arXiv 2002.06038, section 2): inverse dynamics, which keeps
what the agent controls. It is trained on the steps of the exploration.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import faiss
import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float32, Int

from ngu.novelty.embedding import InverseDynamics
from ngu.novelty.encoder import copy_weights, frozen
from ngu.novelty.optimisers import Optimisers
from ngu.precision import autocast, resolve_precision
from ngu.seeding import Seeds, generator_state, set_generator_state
from ngu.spaces import ObservationSpec
from ngu_agents.archive.cells import Cells, Named, Regrouped

_SIZE = 32
_BATCH = 64
# As Never Give Up: 5 steps of a sequence of 80 train the embedding.
_TRAINED_SHARE = 1 / 16
_KEPT_TRANSITIONS = 4096
_TAKEN_PER_STEP = 4
# Until so many transitions were taken, how far apart states are is not known: all are one cell.
_FIRST_RADIUS = 512
_ADJUST_STEPS = 5000
_EMBEDDED_AT_ONCE = 256
# Of the growth asked for the share that stays where there are too many cells, and of the cells that
# are missing the share that an adjustment makes up for.
_LEAST_GROWTH = 0.25
_CORRECTED_SHARE = 0.1
# Cells that grouping anew leaves at most, the radii that it tries for their number, and how near
# that has to come.
_KEPT_SHARE = 0.95
_RADII_TRIED = 16
_NEAR_ENOUGH = 0.05


class LatentCells(Cells):
    """Names a state's cell by the nearest of the centres, or makes the state a centre.

    A state is a new centre where no other lies within a radius. The radius follows the number of
    cells, so that these grow by ``growth`` a thousand steps. Every time that as many steps have
    passed as before, the newest embedding takes the old one's place, and the centres are embedded
    and grouped anew.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        growth: cells that a thousand steps are to add.
        regroup_steps: after how many steps the cells are grouped anew for the first time.
        seed: of weights and training.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        *,
        growth: float,
        regroup_steps: int,
        seed: int,
    ) -> None:
        seeds = Seeds(seed)
        self._dtype = resolve_precision("auto", "cpu")
        self._network = InverseDynamics(
            observation_space, action_space, _SIZE, generator=seeds.torch("archive embedding")
        )
        self._scoring = frozen(self._network.embedding, self._dtype)
        self._optimisers = Optimisers(
            {"inverse_dynamics": self._network.parameters()},
            learning_rate=5e-4,
            adam_epsilon=1e-8,
            max_gradient_norm=40.0,
            weight_decay={"inverse_dynamics": 1e-5},
        )
        self._generator = seeds.numpy("archive embedding")
        self._shape = ObservationSpec(observation_space).shape
        self._type = np.dtype(observation_space.dtype)
        self._growth, self._regroup_at = growth, regroup_steps
        kept = (_KEPT_TRANSITIONS, *self._shape)
        self._before, self._after = (np.zeros(kept, self._type) for _ in range(2))
        self._action = np.zeros(_KEPT_TRANSITIONS, np.int64)
        self._taken = 0
        self._steps = 0
        self._trained = 0
        self._adjusted_steps = 0
        self._adjusted_cells = 0
        self._squared_radius: float | None = None
        self._centres = faiss.IndexFlatL2(_SIZE)
        self._pictures: list[bytes] = []

    def __call__(self, observations: np.ndarray, where: Bool[np.ndarray, " E"]) -> Named:
        """The cells of the observations [E, ...] in ``where``."""
        names = [b""] * len(where)
        embeddings = np.zeros((len(where), _SIZE), np.float32)
        rows = np.flatnonzero(where)
        if rows.size:
            embeddings[rows] = self._embed(observations[rows])
            for row, embedding in zip(rows.tolist(), embeddings[rows], strict=True):
                centre = self._centre(embedding[None])
                if centre is None:
                    centre = self._centres.ntotal
                    self._centres.add(embedding[None])
                    self._pictures.append(zlib.compress(observations[row].tobytes(), level=1))
                names[row] = name_of(centre)
        return Named(names, embeddings)

    def observe(
        self,
        obs_tm1: np.ndarray,
        action_tm1: np.ndarray,
        obs_t: np.ndarray,
        where: Bool[np.ndarray, " E"],
    ) -> None:
        """Train on some of the steps [E, ...] in ``where``; adjust the radius."""
        rows = np.flatnonzero(where)
        if not rows.size:
            return
        taken = self._generator.choice(rows, min(_TAKEN_PER_STEP, rows.size), replace=False)
        places = (self._taken + np.arange(taken.size)) % _KEPT_TRANSITIONS
        self._before[places], self._after[places] = obs_tm1[taken], obs_t[taken]
        self._action[places] = action_tm1[taken]
        self._taken += taken.size
        self._steps += rows.size
        if self._squared_radius is None and self._taken >= _FIRST_RADIUS:
            self._squared_radius = 0.1 * self._spread()
        while self._trained + _BATCH <= self._steps * _TRAINED_SHARE:
            self._trained += _BATCH
            self._train()
        if self._steps - self._adjusted_steps >= _ADJUST_STEPS:
            self._adjust()

    @property
    def regrouping_due(self) -> bool:
        """Whether it is time to call :meth:`regroup`."""
        return self._steps >= self._regroup_at and self._squared_radius is not None

    def regrouped(self) -> Regrouped | None:
        """All cells grouped anew where it is time to; None where it is not."""
        return self.regroup() if self.regrouping_due else None

    def regroup(self) -> Regrouped:
        """Group all cells anew, by the newest embedding of the states that they began with.

        The radius is then such that as many are left as the growth asks for, if there were more.
        """
        self._regroup_at *= 2
        before = self._spread()
        copy_weights(self._network.embedding, self._scoring)
        assert self._squared_radius is not None
        embeddings = np.concatenate([self._embed(part) for part in self._unpacked()])
        radius = self._squared_radius * self._spread() / before
        wanted = min(_KEPT_SHARE * len(embeddings), self._wanted())
        factor, rising = 4.0, None
        groups, firsts = _cover(embeddings, radius)
        for _ in range(_RADII_TRIED):
            if abs(len(firsts) / wanted - 1) < _NEAR_ENOUGH:
                break
            rises = len(firsts) > wanted
            if rising not in (None, rises):
                factor **= 0.5  # the number lies between the last two radii
            rising = rises
            radius *= factor if rises else 1 / factor
            groups, firsts = _cover(embeddings, radius)
        self._squared_radius = radius
        self._pictures = [self._pictures[cell] for cell in firsts.tolist()]
        self._centres.reset()
        self._centres.add(embeddings[firsts])
        self._adjusted_steps, self._adjusted_cells = self._steps, len(firsts)
        names = [name_of(centre) for centre in range(len(firsts))]
        return Regrouped(groups, names, embeddings[firsts])

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        ends = np.cumsum([len(picture) for picture in self._pictures], dtype=np.int64)
        centres = faiss.rev_swig_ptr(self._centres.get_xb(), self._centres.ntotal * _SIZE)
        kept = min(self._taken, _KEPT_TRANSITIONS)
        return {
            "network": self._network.state_dict(),
            "scoring": self._scoring.state_dict(),
            "optimisers": self._optimisers.state_dict(),
            "generator": generator_state(self._generator),
            "centres": centres.reshape(-1, _SIZE).copy(),
            "pictures": np.frombuffer(b"".join(self._pictures), np.uint8),
            "ends": ends,
            "before": self._before[:kept],
            "action": self._action[:kept],
            "after": self._after[:kept],
            "squared_radius": self._squared_radius,
            "counts": {name: getattr(self, name) for name in self._COUNTS},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        for name in ("network", "scoring", "optimisers"):
            getattr(self, f"_{name}").load_state_dict(state[name])
        set_generator_state(self._generator, state["generator"])
        self._centres.reset()
        self._centres.add(state["centres"])
        pictures, first = state["pictures"].tobytes(), 0
        self._pictures = []
        for end in state["ends"].tolist():
            self._pictures.append(pictures[first:end])
            first = end
        for name in ("before", "action", "after"):
            getattr(self, f"_{name}")[: len(state[name])] = state[name]
        self._squared_radius = state["squared_radius"]
        for name, count in state["counts"].items():
            setattr(self, name, count)

    _COUNTS = ("_taken", "_steps", "_trained", "_regroup_at", "_adjusted_steps", "_adjusted_cells")

    @torch.no_grad()
    def _embed(self, observations: np.ndarray) -> Float32[np.ndarray, "B D"]:
        return self._scoring(torch.from_numpy(observations.copy())).numpy()

    def _centre(self, embedding: Float32[np.ndarray, "1 D"]) -> int | None:
        """The centre nearest to an embedding, None where there is none within the radius."""
        if not self._centres.ntotal:
            return None
        distance, centre = self._centres.search(embedding, 1)
        near = self._squared_radius is None or distance[0, 0] <= self._squared_radius
        return int(centre[0, 0]) if near else None

    def _spread(self) -> float:
        """Mean squared distance between states that were taken, in the embedding in use."""
        some = self._after[: min(self._taken, _FIRST_RADIUS)]
        embeddings = torch.from_numpy(self._embed(some))
        return float(torch.pdist(embeddings).square().mean())

    def _train(self) -> None:
        kept = min(self._taken, _KEPT_TRANSITIONS)
        rows = self._generator.integers(kept, size=_BATCH)
        before, action, after = (
            torch.from_numpy(values[rows]) for values in (self._before, self._action, self._after)
        )
        with autocast("cpu", self._dtype):
            loss, _ = self._network.loss(before, action, after)
        self._optimisers.step({"inverse_dynamics": loss})

    def _adjust(self) -> None:
        """Make the radius follow how many cells were added, and are there, against what is wanted.

        More than are wanted slow the growth but do not stop it: cells that no one adds would let
        the radius rise for ever.
        """
        passed = self._growth * (self._steps - self._adjusted_steps) / 1000
        missing = self._wanted() - self._centres.ntotal
        due = max(_LEAST_GROWTH * passed, passed + _CORRECTED_SHARE * missing)
        added = self._centres.ntotal - self._adjusted_cells
        if self._squared_radius is not None:
            factor = ((added + 1) / (due + 1)) ** 0.5
            self._squared_radius *= min(max(factor, 0.7), 1.4)
        self._adjusted_steps, self._adjusted_cells = self._steps, self._centres.ntotal

    def _wanted(self) -> float:
        """How many cells there are to be by now."""
        return max(1.0, self._growth * self._steps / 1000)

    def _unpacked(self) -> Iterator[np.ndarray]:
        """The states that the cells began with, in batches."""
        for first in range(0, len(self._pictures), _EMBEDDED_AT_ONCE):
            part = self._pictures[first : first + _EMBEDDED_AT_ONCE]
            raw = b"".join(zlib.decompress(picture) for picture in part)
            yield np.frombuffer(raw, self._type).reshape(len(part), *self._shape)


def _cover(
    embeddings: Float32[np.ndarray, "N D"], squared_radius: float
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " M"]]:
    """Let each embedding join the nearest centre before it within a radius, or be a centre.

    Returns:
        The centre of each, counted from 0, and which embeddings the centres are.
    """
    centres = faiss.IndexFlatL2(embeddings.shape[1])
    groups = np.empty(len(embeddings), np.int64)
    firsts = []
    for number in range(len(embeddings)):
        embedding = embeddings[number : number + 1]
        if firsts:
            distance, nearest = centres.search(embedding, 1)
            if distance[0, 0] <= squared_radius:
                groups[number] = nearest[0, 0]
                continue
        groups[number] = len(firsts)
        firsts.append(number)
        centres.add(embedding)
    return groups, np.array(firsts)


def name_of(centre: int) -> bytes:
    """A centre's number as the name of its cell."""
    return centre.to_bytes(8, "little")
