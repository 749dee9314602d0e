"""Trajectories of an archive as demonstrations for the recurrent replay agent.

Sources: Paine et al., "Making Efficient Use of Demonstrations to Solve Hard Exploration Problems"
(R2D3, arXiv 1909.01387): each sequence of an update is one of a demonstration with a fixed chance;
Hester et al., "Deep Q-learning from Demonstrations" (arXiv 1704.03732): the first updates see
nothing else. Decided here: a demonstration's previous actions are hidden.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv

from ngu.seeding import Seeds, generator_state, set_generator_state
from ngu_agents.archive.returning import Snapshots, Trajectory
from ngu_agents.replay import ReplayConfig, SequenceBatch, SequenceReplay
from ngu_agents.sequence_batch import joined

_POLICY = 0  # the one that exploits


class Demonstrations:
    """A replay of trajectories, drawn from uniformly beside the agent's own.

    Args:
        envs: D environments that can go back, one for each trajectory, played once and left.
        trajectories: D of them, as :func:`~ngu_agents.archive.returning.best_trajectories` returns.
        replay: settings of the agent's own replay; lengths and periods hold here too.
        recurrent_size: H, as in the agent's replay; the states are zeros.
        stack: frames that the environments stack, as in the agent's replay.
        share: chance of each of an update's sequences to be one of a demonstration.
        seed: of the draws.

    Raises:
        ValueError: a trajectory did not bring its score once more.
    """

    def __init__(
        self,
        envs: VectorEnv,
        trajectories: Sequence[Trajectory],
        *,
        replay: ReplayConfig,
        recurrent_size: int,
        stack: int,
        share: float,
        seed: int,
    ) -> None:
        self._share = share
        # The environments of an archive have Discrete actions from zero, or none would be here.
        self._num_actions = int(cast(Discrete, envs.single_action_space).n)
        self._generator = Seeds(seed).numpy("demonstrations")
        longest = max(len(trajectory.actions) for trajectory in trajectories)
        # The last sequence needs its observations and those of a stack.
        slots = longest + 2 + replay.unroll_length + replay.period
        periods = -(-(slots + stack + 1) // replay.period) + 1
        self._replay = SequenceReplay(
            dataclasses.replace(
                replay,
                capacity_steps=periods * replay.period * len(trajectories),
                capacity_gb=None,
                priority_exponent=0.0,
                importance_exponent=0.0,
                min_sequences=1,
            ),
            num_envs=len(trajectories),
            observation_space=envs.single_observation_space,
            recurrent_size=recurrent_size,
            generator=self._generator,
            stack=stack,
            stack_padding="zero",
        )
        self._play(envs, trajectories, slots, recurrent_size)

    def mixed(self, own: SequenceReplay, batch_size: int) -> SequenceBatch:
        """Sequences of both: each a demonstration with the chance ``share``."""
        count = int(self._generator.binomial(batch_size, self._share))
        parts = []
        if count < batch_size:
            parts.append(own.sample(batch_size - count))
        if count:
            parts.append(self.sample(count))
        return joined(parts)

    def sample(self, count: int) -> SequenceBatch:
        """Sequences of demonstrations alone.

        Their previous actions are random ones. The archive explores by doing the same many times in
        a row, and a network that reads what was done last would learn to do it for ever.
        """
        drawn = self._replay.sample(count)
        return dataclasses.replace(
            drawn,
            action_tm1=self._generator.integers(self._num_actions, size=drawn.action_tm1.shape),
            demonstrated=np.ones(count, dtype=bool),
        )

    def state_dict(self) -> dict[str, Any]:
        """The generator's state; what is drawn from comes from the archive."""
        return {"generator": generator_state(self._generator)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        set_generator_state(self._generator, state["generator"])

    def _play(
        self, envs: VectorEnv, trajectories: Sequence[Trajectory], slots: int, recurrent_size: int
    ) -> None:
        """Play each trajectory over and over, for so many steps; an end of it is a truncation."""
        returning: Snapshots = envs  # pyright: ignore[reportAssignmentType]
        count = len(trajectories)
        roots = [trajectory.root for trajectory in trajectories]
        actions = [np.frombuffer(trajectory.actions, np.uint8) for trajectory in trajectories]
        lengths = np.array([len(each) for each in actions])
        envs.reset()
        observation, _ = returning.restore(np.ones(count, dtype=bool), roots)
        recurrent_state = np.zeros((2, count, recurrent_size), np.float32)
        at = np.zeros(count, np.int64)
        score = np.zeros(count)
        for _ in range(slots):
            over = at == lengths
            action = np.array(
                [each[i] if i < len(each) else 0 for each, i in zip(actions, at, strict=True)]
            ).astype(np.int64)
            following, reward, terminated, _, _ = envs.step(action)
            reward = np.where(over, 0.0, reward).astype(np.float32)
            terminated = terminated & ~over
            self._replay.add(
                observation=observation,
                first=at == 0,
                action=action,
                behaviour_probability=np.ones(count, np.float32),
                reward_ext=reward,
                reward_int=np.zeros(count, np.float32),
                terminated=terminated,
                truncated=(at + 1 == lengths) & ~terminated,
                policy=np.full(count, _POLICY),
                recurrent_state=recurrent_state,
            )
            score += reward
            at += 1
            ended = at == lengths
            _check_scores(trajectories, score, ended)
            if over.any():
                following[over], _ = returning.restore(
                    over, [root for root, again in zip(roots, over, strict=True) if again]
                )
                at[over], score[over] = 0, 0.0
            observation = following


def _check_scores(trajectories: Sequence[Trajectory], score: np.ndarray, ended: np.ndarray) -> None:
    for i in np.flatnonzero(ended).tolist():
        if not np.isclose(score[i], trajectories[i].score):
            raise ValueError(
                f"a trajectory's score was {trajectories[i].score:g}, played once more it is "
                f"{score[i]:g}: these are not the environments that it was found in"
            )
