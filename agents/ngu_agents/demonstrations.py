"""Demonstrated steps in the updates of the recurrent replay agent.

Sources: Paine et al., "Making Efficient Use of Demonstrations to Solve Hard Exploration Problems"
(R2D3, arXiv 1909.01387): each sequence of an update is one of a demonstration with a fixed chance;
Hester et al., "Deep Q-learning from Demonstrations" (arXiv 1704.03732): the first updates see
nothing else. Decided here: a demonstration's previous actions are hidden, and what was done long
before a segment's end is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ngu.seeding import Seeds, generator_state, set_generator_state
from ngu_agents.archive.demonstrated import Demonstrated
from ngu_agents.replay import SequenceBatch, SequenceReplay
from ngu_agents.sequence_batch import joined

_POLICY = 0  # the one that exploits
# Steps before the end of a segment in which sequences end. A search dithers until chance lets it
# on, and an agent that does the same does so for ever: what is worth doing is what came last.
_REACH = 16


class Demonstrations:
    """Sequences of demonstrated steps, drawn beside those of the agent's own replay.

    Args:
        demonstrated: M frames and what was done there.
        num_actions: that there are.
        unroll_length: T, steps of a sequence, as in the agent's replay.
        recurrent_size: H, as in the agent's replay; the states are zeros.
        stack: frames that the environments stack, as in the agent's replay.
        share: chance of each of an update's sequences to be one of a demonstration.
        seed: of the draws.
    """

    def __init__(
        self,
        demonstrated: Demonstrated,
        *,
        num_actions: int,
        unroll_length: int,
        recurrent_size: int,
        stack: int,
        share: float,
        seed: int,
    ) -> None:
        self._known = demonstrated
        self._num_actions = num_actions
        self._unroll_length = unroll_length
        self._recurrent_size = recurrent_size
        self._stack = stack
        self._share = share
        self._generator = Seeds(seed).numpy("demonstrations")
        ends = np.flatnonzero(demonstrated.action < 0)
        steps = np.flatnonzero(demonstrated.action >= 0)
        self._steps = steps[ends[np.searchsorted(ends, steps)] - steps <= _REACH]

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
        """Sequences of demonstrations alone: each ends with a step soon before a segment's end.

        One that would begin before its episode does is filled with steps that are not valid. Its
        previous actions are random ones: a search does the same many times in a row, and a network
        that reads what was done last would learn to do it for ever.
        """
        known = self._known
        last = self._generator.choice(self._steps, count)
        # Frames x_{1-S} to x_T: x_T follows the last step, and each one's stack reaches back.
        chain = [last + 1, last]
        for _ in range(self._unroll_length + self._stack - 2):
            chain.append(self._before(chain[-1]))
        frames = np.stack(chain[::-1])
        stack = self._stack
        observation = self._stacked(frames)
        frames = frames[stack - 1 :]
        real = frames >= 0
        steps = frames[:-1]
        valid = real[:-1] & (known.action[steps] >= 0)
        reward = np.where(valid, known.reward[steps], 0).astype(np.float32)
        begins = real[:-1] & (self._before(steps) < 0)
        first = np.concatenate((begins | ~valid, np.zeros((1, count), bool)))
        before = self._before(frames)
        reward_tm1 = np.where(before >= 0, known.reward[before], 0).astype(np.float32)
        return SequenceBatch(
            action=np.where(valid, known.action[steps], 0).astype(np.int64),
            behaviour_probability=np.ones(steps.shape, np.float32),
            reward_ext=reward,
            reward_int=np.zeros(steps.shape, np.float32),
            terminated=valid & known.terminated[steps],
            truncated=np.zeros(steps.shape, bool),
            valid=valid,
            observation=observation,
            first=first,
            action_tm1=self._generator.integers(self._num_actions, size=frames.shape),
            reward_ext_tm1=reward_tm1,
            reward_int_tm1=np.zeros(frames.shape, np.float32),
            policy=np.full(frames.shape, _POLICY, np.int16),
            recurrent_state=np.zeros((2, count, self._recurrent_size), np.float32),
            ids=np.full(count, -1),
            importance_weight=np.ones(count, np.float32),
            demonstrated=np.ones(count, dtype=bool),
        )

    def _before(self, steps: np.ndarray) -> np.ndarray:
        """Numbers of the steps before these; -1 before an episode's beginning."""
        return np.where(steps >= 0, self._known.previous[steps], -1)

    def _stacked(self, frames: np.ndarray) -> np.ndarray:
        """Observations [T + 1, B, ...] of frames [T + S, B]; zeros where there is none."""
        stack = self._stack
        if stack == 1:
            return self._frames(frames)
        windows = np.lib.stride_tricks.sliding_window_view(frames, stack, axis=0)
        return self._frames(windows)

    def _frames(self, numbers: np.ndarray) -> np.ndarray:
        found = self._known.frames[numbers]
        found[numbers < 0] = 0
        return found

    def state_dict(self) -> dict[str, Any]:
        """The generator's state; what is drawn from comes from a file."""
        return {"generator": generator_state(self._generator)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        set_generator_state(self._generator, state["generator"])
