"""Never Give Up: novelty within the episode, times novelty over the agent's life.

Source: Badia et al., 2020 (arXiv 2002.06038), section 2, Algorithm 1 and tables 6 and 7.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ngu.moments import RunningMoments
from ngu.novelty.distillation import Distiller
from ngu.novelty.embedded import Embeddings
from ngu.novelty.explanation import Explanation
from ngu.novelty.kernel import (
    episodic_novelty,
    kernel,
    lifelong_modulator,
    normalised_distances,
    similarity,
)
from ngu.novelty.nearest import NearestConfig, NearestReward
from ngu.seeding import Seeds
from ngu.spaces import Array


@dataclass(frozen=True)
class NGUConfig(NearestConfig):
    """Settings of NGU's intrinsic reward; the defaults are the paper's for Atari."""

    episodes_per_memory: int = 1
    """Episodes after which an environment's memory is emptied."""
    epsilon: float = 1e-4
    """Width of the kernel; sets the reward's scale (1e-2 on Disco Maze)."""
    cluster_distance: float = 0.008
    """Normalised squared distance up to which two states count as the same."""
    pseudo_count: float = 0.001
    """Keeps the novelty of a state without near neighbours finite: at most its inverse."""
    max_similarity: float = 8.0
    """Similarity above which a state earns nothing."""
    max_modulator: float = 5.0
    """Largest factor by which lifelong novelty raises episodic novelty, L."""
    distillation_size: int = 128
    """Width of the outputs of the random network and its predictor."""
    observation_bound: float = 5.0
    """Bound, in standard deviations, of the whitened observations that the random network gets."""
    statistics_window: int = 100_000
    """Scored states over which the moments of distances and errors move; old ones fade."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.max_modulator >= 1:
            raise ValueError(f"max_modulator must be at least 1, got {self.max_modulator}")


class _Looked(NamedTuple):
    """What was found of the states of E environments in their memories."""

    rows: Bool[Tensor, " E"]
    """Environments that were asked for."""
    added: Int[np.ndarray, " E"]
    """How many states each memory had been given before."""
    distances: Float[Tensor, "E K"]
    """Squared, infinite where there is none."""
    neighbours: Int[Tensor, "E K"]
    """Their steps."""


class NGU(NearestReward[NGUConfig]):
    """The intrinsic reward of Never Give Up: r = r_episodic * min(max(alpha, 1), L).

    The running mean of squared distances is that of the distances to all neighbours found
    (Algorithm 1; section 2 of the paper speaks of the k-th only). It takes in the distances of all
    environments of a call before any of them is normalised with it, so that it is right from the
    first score on and no environment comes first. The moments of the distillation errors and of the
    observations likewise. Distances change as the embedding learns, and errors shrink as the
    predictor does, so both are moving averages: up to ``statistics_window`` scored states all count
    the same, from then on old ones fade. Without that, the first errors, which are far the largest,
    would keep every later one below the mean, and the modulator at 1. The paper names a moving
    average, but no rate.

    An environment's embedding changes only when its memory is emptied: distances between two
    networks' embeddings would mean nothing. ``publish`` puts the newest one where no environment
    uses the one it replaces; while there is no such place, the newest waits for a later one.

    The arguments are those of `EmbeddingReward`.

    Attributes:
        parts: ``"episodic_novelty"`` and ``"lifelong_modulator"`` of the last score.
    """

    CONFIG = NGUConfig
    lifelong_of = "state"

    def _build(self, observation_space: gym.Space[Any], seeds: Seeds) -> None:
        super()._build(observation_space, seeds)
        config = self.config
        self.distiller = Distiller(
            observation_space,
            config.distillation_size,
            bound=config.observation_bound,
            generator=seeds.torch("distillation"),
            dtype=self.dtype,
            device=self.device,
        )
        window = config.statistics_window
        self._distances = RunningMoments((), self.device, window * config.neighbours)
        self._errors = RunningMoments((), self.device, window)
        self._learned |= {"distances": self._distances, "errors": self._errors}
        self._scored: tuple[_Looked, Tensor] | None = None
        self._kernel = {"epsilon": config.epsilon, "cluster_distance": config.cluster_distance}

    def _trained_parameters(self) -> dict[str, list[nn.Parameter]]:
        return {"distillation": list(self.distiller.trained.predictor.parameters())}

    def _losses(
        self, action_tm1: Tensor, obs_t: Tensor, embeddings: Embeddings
    ) -> dict[str, Tensor]:
        return {"distillation": self.distiller.loss(obs_t)}

    def publish(self) -> None:
        """Hand the newest weights to the scoring side, and its observation moments back.

        The predictor scores with its new weights from the next call on, an embedding from the next
        time on that an environment's memory is emptied.
        """
        super().publish()
        self.distiller.publish()

    def explain(self, obs_t: Array, where: Array | None = None) -> Explanation:
        """Return how the reward of states comes about that are about to be scored.

        Nothing is remembered and no statistic moves. With the statistics frozen by ``eval()``, the
        numbers are those that `score` then pays by; in training `score` first takes the states into
        its statistics.

        Args:
            obs_t: Observations [E, *shape].
            where: Bool [E], environments to explain; None: all.

        Returns:
            An `Explanation`, of arrays for an array, of tensors for a tensor.

        Raises:
            TypeError: An argument has a wrong type or dtype.
            ValueError: An argument has a wrong shape, device or value.
            RuntimeError: An environment is asked for in which no episode has begun.
        """
        reached = self.observation_spec.check(obs_t, "obs_t", self.num_envs, self.device)
        mask = self._begun(where)
        with torch.no_grad():
            looked = self._look(self._embed(reached, mask), mask)
            error = self._of(mask, self.distiller.error, reached)
            explained = self._explain(looked, error)
        if isinstance(obs_t, Tensor):
            return explained
        return Explanation(*(part.cpu().numpy() for part in explained))

    @torch.no_grad()
    def explanation(self) -> Explanation:
        """Return how the rewards of the last score came about, exactly as they were paid.

        Returns:
            An `Explanation` of tensors; 0 and -1 in environments that were not scored.

        Raises:
            RuntimeError: Nothing has been scored yet.
        """
        if self._scored is None:
            raise RuntimeError("there is nothing to explain: no state has been scored yet")
        return self._explain(*self._scored)

    def as_remembered(self, embeddings: Float[Tensor, "batch D"]) -> Float[Tensor, "batch D"]:
        """Return embeddings as the memory holds them: whitened, where the settings say so."""
        return embeddings if self.whitening is None else self.whitening(embeddings)

    @torch.no_grad()
    def imagined_novelty(
        self,
        embeddings: Float[Tensor, "states N D"],
        envs: Int[np.ndarray, " N"],
        *,
        passed: Float[Tensor, "P B D"] | None = None,
        counted: Bool[Tensor, "P N"] | None = None,
        tolerance: float = 0.0,
    ) -> Float[Tensor, "states-1 N"]:
        """Return the episodic novelty of trajectories that are only imagined.

        An imagined state has its K nearest among what its environment remembers and what the same
        trajectory has passed before it. Nothing is remembered and no statistic moves.

        Args:
            embeddings: Of N trajectories, as the encoder would give them; the first state of each
                is where it begins and is not paid.
            envs: The environment whose memory each trajectory is compared with, -1 for none.
            passed: Of what was replayed: trajectory n begins in sequence n modulo B.
            counted: Which of them the trajectory passed before it begins.
            tolerance: What is taken off squared distances to what was really seen, because
                imagined embeddings are not exact: else hardly a known place would be found again.
        """
        embeddings = self.as_remembered(embeddings.flatten(0, 1)).unflatten(0, embeddings.shape[:2])
        reached = embeddings[1:]
        horizon, count = reached.shape[:2]
        remembered = reached.new_full((horizon, count, self.config.neighbours), torch.inf)
        for env in np.unique(envs[envs >= 0]).tolist():
            rows = torch.from_numpy(np.flatnonzero(envs == env)).to(reached.device)
            found = self.memory.nearest_among(env, reached[:, rows].flatten(0, 1))
            found = (found - tolerance).clamp_min_(0)
            remembered[:, rows] = found.unflatten(0, (horizon, len(rows)))
        paths = embeddings.transpose(0, 1)
        imagined = _squared_distances(paths[:, 1:], paths[:, :-1])
        imagined[..., 0].sub_(tolerance).clamp_min_(0)  # where it begins
        later = torch.ones(horizon, horizon, dtype=torch.bool, device=imagined.device).triu_(1)
        distances = [remembered, imagined.masked_fill_(later, torch.inf).transpose(0, 1)]
        if passed is not None and counted is not None:
            sequences = self.as_remembered(passed.flatten(0, 1)).unflatten(0, passed.shape[:2])
            of_sequence = reached.unflatten(1, (-1, passed.shape[1])).movedim(2, 0)
            replayed = _squared_distances(of_sequence.flatten(1, 2), sequences.transpose(0, 1))
            replayed = (replayed - tolerance).clamp_min_(0)
            replayed = replayed.unflatten(1, of_sequence.shape[1:3]).movedim(0, 2).flatten(1, 2)
            distances.append(replayed.masked_fill(~counted.T, torch.inf))
        everything = torch.cat(distances, dim=-1)
        nearest = everything.topk(self.config.neighbours, largest=False, sorted=False).values
        return self._novelty(nearest)

    def _look(self, embeddings: Tensor, mask: np.ndarray) -> _Looked:
        distances, neighbours = self.memory.neighbours(embeddings, mask)
        rows = torch.from_numpy(mask).to(self.device)
        return _Looked(rows, self.memory.added, distances, neighbours)

    def _explain(self, looked: _Looked, error: Tensor) -> Explanation:
        rows, added, distances, neighbours = looked
        normalised = normalised_distances(distances, self._distances.mean.float())
        values = kernel(normalised, **self._kernel)
        novelty = self._novelty(distances)
        modulator = torch.where(rows, self._modulator(error), 0.0)
        return Explanation(
            step=torch.from_numpy(added).to(self.device) * rows,
            neighbours=neighbours,
            squared_distances=distances,
            normalised_distances=normalised,
            kernel=values,
            similarity=similarity(values, self.config.pseudo_count) * rows,
            episodic_novelty=novelty * rows,
            lifelong_error=error,
            lifelong_modulator=modulator,
            reward=novelty * modulator,
        )

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        embeddings = self._embed_scored(obs_t, where)
        looked = self._look(embeddings, where)
        self.memory.add(embeddings, where)
        if self.training:
            distances = looked.distances
            self._distances.update(distances[distances.isfinite()])
        error = self._of(where, self._score_lifelong, obs_t)
        self._scored = looked, error
        novelty = torch.where(looked.rows, self._novelty(looked.distances), 0.0)
        modulator = torch.where(looked.rows, self._modulator(error), 0.0)
        parts = {"episodic_novelty": novelty, "lifelong_modulator": modulator}
        return novelty * modulator, parts

    def _score_lifelong(self, obs_t: Tensor) -> Tensor:
        if self.training:
            self.distiller.observe(obs_t)
        error = self.distiller.error(obs_t)
        if self.training:
            self._errors.update(error)
        return error

    def _lifelong(self, obs_t: Tensor, *left: Tensor) -> Tensor:
        return self._modulator(self.distiller.error(obs_t))

    def _novelty(self, squared_distances: Tensor) -> Tensor:
        return episodic_novelty(
            squared_distances,
            self._distances.mean.float(),
            **self._kernel,
            pseudo_count=self.config.pseudo_count,
            max_similarity=self.config.max_similarity,
        )

    def _modulator(self, error: Tensor) -> Tensor:
        return lifelong_modulator(
            error, self._errors.mean, self._errors.std, maximum=self.config.max_modulator
        )

    def _unit_changed(self) -> None:
        self._distances.copy_(RunningMoments((), self.device))


def _squared_distances(
    a: Float[Tensor, "batch M D"], b: Float[Tensor, "batch N D"]
) -> Float[Tensor, "batch M N"]:
    """Of each row of a to each of b; exactly 0 between rows that are equal."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square_()
